//! Verifying a file of this machine before anything is changed.

use super::stages::Scanned;
use crate::apply::work::Work;
use crate::batch::batches;
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::batch_worker::Hand;
use crate::pipeline::chunk_source::Supply;
use crate::source::{Fetcher, Source};
use crate::worker_pool::Workers;

impl Work<'_> {
    /// Verifies all that will be needed of a file of this machine, so that a damaged one is refused
    /// before anything is changed. What is written is verified again.
    pub(crate) async fn verify<S: Source>(
        &self,
        scanned: &Scanned,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<(), ApplyError> {
        let release = self.sinks.release();
        let total = scanned
            .survey
            .stored(release)
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        let mut progress = self.progress(Phase::Verify, total);
        let mut told = |bytes| progress.add(bytes);
        let mark = fetcher.position();
        let mut supply = Supply::new(fetcher).await;
        let mut workers = Workers::start(self.options.jobs, &self.guard.0, || {
            let hand = Hand::new(&self.sinks, &scanned.survey.composition, false);
            move |order| hand.verify(order)
        });
        let jobs = batches(release, &scanned.survey.origins, supply.batch_len());
        supply.expect(release, &jobs);
        for batch in jobs {
            if workers
                .send(supply.order(release, batch), &mut told)
                .await?
                .is_none()
            {
                break;
            }
        }
        workers.finish(&mut told).await?;
        fetcher.rewind(&mark);
        Ok(())
    }
}
