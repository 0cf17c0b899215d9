//! Writing: what is missing is brought to its place, and read back part by part meanwhile.

use super::stages::{Disarmed, Written};
use crate::apply::incoming::Unopened;
use crate::apply::work::Work;
use crate::batch::{Origin, batches};
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::batch_worker::{Done, Hand};
use crate::pipeline::chunk_source::Supply;
use crate::pipeline::verify_written::{Ledger, Proving, flush, part_len};
use crate::progress::Progress;
use crate::scan::Survey;
use crate::slot::delta_base::Lost;
use crate::slot::root_tree::RootTree;
use crate::source::Fetcher;
use crate::source::Source;
use crate::worker_pool::Workers;
use std::sync::Arc;
use std::time::Instant;

impl<'w> Disarmed<'w> {
    /// Fetches, verifies and writes what is missing, with memory for a few batches per thread.
    /// Where much is written, what was written first is flushed and read back meanwhile.
    pub(crate) async fn write<S: Source>(
        mut self,
        fetcher: Fetcher<'_, S>,
        full: Unopened<'_, S>,
    ) -> Result<Written<'w>, ApplyError> {
        let began = Instant::now();
        let work = self.work;
        let (release, survey) = (work.sinks.release(), &mut self.scanned.survey);
        let ledger = Ledger::new(release, survey, work.options.read_back);
        let part_len = part_len(self.scanned.amounts.image_bytes, work.sinks.is_rotating());
        let proving = Proving::start(&work.sinks, ledger, part_len, work.workers());
        let written = work.write_all(survey, &proving, fetcher, full).await;
        // Where something did not read back, writing was stopped for it.
        let mut ledger = proving.end().await?;
        let fetched = written?;
        work.finish_tree().await?;
        let flushed = flush(&work.sinks, &mut ledger).await?;
        Ok(Written {
            disarmed: self,
            ledger,
            flushed,
            fetched,
            took: began.elapsed(),
        })
    }
}

/// What could not be brought to its place.
#[derive(Default)]
struct Missing {
    /// Something turned out not to be on the disk, and is to be fetched.
    failed: bool,
    /// What the base should have had.
    lost: Vec<Lost>,
}

impl Work<'_> {
    /// Writes what is left of the hash tree over the root image, once every chunk is known.
    async fn finish_tree(&self) -> Result<(), ApplyError> {
        let sinks = Arc::clone(&self.sinks);
        let finish = move || sinks.places().tree().map_or(Ok(()), RootTree::finish);
        let finished = tokio::task::spawn_blocking(finish).await;
        finished.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Brings to its place what is missing, from wherever it can be had. Returns how many bytes
    /// were fetched.
    async fn write_all<S: Source>(
        &self,
        survey: &mut Survey,
        proving: &Proving,
        mut fetcher: Fetcher<'_, S>,
        mut full: Unopened<'_, S>,
    ) -> Result<u64, ApplyError> {
        let release = Arc::clone(self.sinks.release());
        let mut progress = self.progress(Phase::Write, survey.missing_bytes(&release));
        let mut supply = Supply::new(&mut fetcher).await;
        let mut made_up = 0;
        loop {
            let missing = self
                .write_once((survey, proving), &mut supply, &mut progress)
                .await
                .map_err(|error| supply.explained(error))?;
            if !missing.lost.is_empty() {
                made_up += self
                    .make_up(missing.lost, &mut full, (survey, proving), &mut progress)
                    .await?;
            }
            if !missing.failed {
                break;
            }
            // What the disk was thought to have is fetched after all.
            supply.again(&release);
        }
        let read_locally = supply.read_locally();
        let bundle_len = release.statement().bundle_len;
        if !fetcher.can_skip() {
            fetcher.range(bundle_len, 0).await?;
        }
        Ok(fetcher.finish(bundle_len).await? + read_locally + made_up)
    }

    /// Brings to its place what is missing and can be had at the first attempt.
    async fn write_once<S: Source>(
        &self,
        (survey, proving): (&mut Survey, &Proving),
        supply: &mut Supply<'_, '_, S>,
        progress: &mut Progress<'_>,
    ) -> Result<Missing, ApplyError> {
        let release = self.sinks.release();
        let jobs = batches(release, &survey.origins, supply.batch_len());
        supply.expect(release, &jobs);
        let mut workers = Workers::start(self.options.jobs, &self.guard.0, || {
            let mut hand = Hand::new(&self.sinks, &survey.composition, self.options.read_back);
            move |order| hand.write(order)
        });
        let mut missing = Missing::default();
        let origins = &mut survey.origins;
        let mut told = |done: Done| {
            for (chunk, _) in &done.written {
                if origins[*chunk] != Origin::Held {
                    progress.add(u64::from(release.chunks()[*chunk].len));
                }
                origins[*chunk] = Origin::Held;
            }
            proving.wrote(done.written);
            missing.failed |= !done.failed.is_empty();
            for lost in done.lost {
                origins[lost.chunk] = Origin::Lost;
                missing.lost.push(lost);
            }
            for chunk in done.failed {
                origins[chunk] = Origin::Stored;
            }
        };
        let mut fetched = Ok(());
        for batch in jobs {
            let sent = tokio::select! {
                biased;
                () = proving.failed() => Err(ApplyError::Stopped),
                sent = workers.send(supply.order(release, batch), &mut told) => sent.map_err(ApplyError::from),
            };
            match sent {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    fetched = Err(error);
                    break;
                }
            }
        }
        // What was fetched before an error is written nevertheless: the next run need not fetch it
        // again.
        workers.finish(&mut told).await?;
        fetched?;
        Ok(missing)
    }
}
