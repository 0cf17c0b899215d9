//! Verify: checks a local file, or the first bytes from any other source, before anything is
//! changed.

use super::stages::Scanned;
use crate::apply::operation::Operation;
use crate::batch::{Batch, batches};
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::batch_worker::BatchWorker;
use crate::pipeline::chunk_source::{ChunkSource, FetchedBatch};
use crate::source::{Fetcher, Source};

impl Operation<'_> {
    /// Verifies all stored bytes that will be needed, so that a damaged file is refused before
    /// anything is changed. They are verified again when they are written. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Decode`], [`ApplyError::Fetch`], [`ApplyError::Stopped`].
    pub(crate) async fn verify<S: Source>(
        &self,
        scanned: &Scanned,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<(), ApplyError> {
        let release = self.release();
        let ranges = scanned.scan.stored_ranges(release);
        let total = ranges.iter().map(|range| range.end - range.start).sum();
        let mut progress = self.progress(Phase::Verify, total);
        let mut on_result = |bytes| progress.add(bytes);
        let start = fetcher.position();
        let mut source = ChunkSource::new(release, fetcher).await;
        let batches = batches(release, &scanned.scan.origins, source.batch_len());
        source.expect(&batches);
        let mut workers = self.pool.start(|| {
            let worker = BatchWorker::new(&self.writer, &scanned.scan.composition, false);
            move |batch| worker.verify(batch)
        });
        for batch in batches {
            let sent = workers.send(source.fetch(batch), &mut on_result).await?;
            if sent.is_break() {
                break;
            }
        }
        workers.finish(&mut on_result).await?;
        fetcher.rewind(&start);
        Ok(())
    }

    /// Fetches and verifies the first batch that has stored bytes, so that a server that sends
    /// nothing, or other bytes than were signed, leaves the target slot unchanged. Announces all
    /// batches. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Decode`]; [`ApplyError::Fetch`], also if the rest would not arrive before the
    /// deadline.
    pub(crate) async fn fetch_first<S: Source>(
        &self,
        scanned: &Scanned,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Option<FetchedBatch>, ApplyError> {
        let release = self.release();
        let mut source = ChunkSource::new(release, fetcher).await;
        let batches = batches(release, &scanned.scan.origins, source.batch_len());
        source.expect(&batches);
        let has_stored = |batch: &Batch| batch.stored_chunks().next().is_some();
        let Some(first) = batches.into_iter().find(has_stored) else {
            return Ok(None);
        };
        let fetched = source.fetch(first).await?;
        BatchWorker::new(&self.writer, &scanned.scan.composition, false)
            .verify(fetched.clone())
            .map_err(|error| source.explain(error))?;
        let amounts = &scanned.amounts;
        let left = amounts.fetch_bytes.saturating_sub(fetcher.fetched());
        fetcher.check_time(left)?;
        Ok(Some(fetched))
    }
}
