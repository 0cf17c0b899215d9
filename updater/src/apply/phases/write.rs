//! Write: fetches, decodes and writes the missing chunks, and reads them back part by part
//! meanwhile.

use super::stages::{Disarmed, Scanned, Written};
use crate::apply::full_bundle::FullBundle;
use crate::apply::incoming::LazyBundle;
use crate::apply::operation::Operation;
use crate::batch::{Origin, batches};
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::batch_worker::{BatchResult, BatchWorker};
use crate::pipeline::chunk_source::{ChunkSource, FetchedBatch};
use crate::pipeline::verify_written::{
    ReadBackLedger, ReadBackTracker, WrittenChunk, flush, part_len,
};
use crate::progress::Progress;
use crate::scan::Scan;
use crate::slot::delta_base::FailedDelta;
use crate::slot::hash::{checksum, matches_digest};
use crate::slot::root_tree::RootTree;
use crate::source::{Download, Fetcher, Source};
use crate::worker_pool::{Workers, join};
use bundle::verity::Hash;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

impl<'o> Disarmed<'o> {
    /// Fetches, verifies and writes all missing chunks. *Writes*: durable on return. Memory is
    /// bounded by a few batches per thread.
    ///
    /// # Errors
    /// [`ApplyError`].
    ///
    /// # Power loss
    /// The slot is Unbootable, and holds some of the chunks.
    pub(crate) async fn write<S: Source>(
        mut self,
        fetcher: Fetcher<'_, S>,
        full: Option<LazyBundle<'_, S>>,
    ) -> Result<Written<'o>, ApplyError> {
        let start = Instant::now();
        let operation = self.operation;
        let mut phase = WritePhase::start(operation, &mut self.scanned);
        let fetched = phase.write_all(fetcher, full).await;
        // If reading back failed, writing stopped because of it.
        let mut ledger = phase.tracker.finish().await?;
        let fetched = fetched?;
        operation.finish_tree().await?;
        let last_flush = flush(&operation.writer, &mut ledger).await?;
        Ok(Written {
            disarmed: self,
            ledger,
            last_flush,
            fetched,
            took: start.elapsed(),
        })
    }
}

impl Operation<'_> {
    /// Writes the rest of the hash tree, after each chunk of the root image was verified.
    async fn finish_tree(&self) -> Result<(), ApplyError> {
        let writer = Arc::clone(&self.writer);
        let finish = move || writer.tree().map_or(Ok(()), RootTree::finish);
        join(tokio::task::spawn_blocking(finish)).await
    }
}

/// The state of writing.
struct WritePhase<'o> {
    operation: &'o Operation<'o>,
    scan: &'o mut Scan,
    /// A batch that was fetched before the slot was disarmed.
    first_batch: Option<FetchedBatch>,
    tracker: ReadBackTracker,
    progress: Progress<'o>,
}

/// The chunks that one pass could not write.
#[derive(Default)]
struct Unwritten {
    /// At least one chunk that the disk seemed to hold must be fetched.
    must_fetch: bool,
    failed_deltas: Vec<FailedDelta>,
}

impl<'s> WritePhase<'s> {
    fn start<'o: 's>(operation: &'o Operation<'o>, scanned: &'s mut Scanned) -> Self {
        let release = operation.release();
        let writer = &operation.writer;
        let read_back = operation.context.options.read_back;
        let ledger = ReadBackLedger::new(release, &scanned.scan, read_back);
        let part_len = part_len(scanned.amounts.image_bytes, writer.is_rotating());
        let missing = scanned.scan.missing_bytes(release);
        Self {
            operation,
            tracker: ReadBackTracker::start(writer, ledger, part_len, &operation.pool),
            progress: operation.progress(Phase::Write, missing),
            first_batch: scanned.first_batch.take(),
            scan: &mut scanned.scan,
        }
    }

    /// Writes all missing chunks.
    async fn write_all<S: Source>(
        &mut self,
        mut fetcher: Fetcher<'_, S>,
        mut full: Option<LazyBundle<'_, S>>,
    ) -> Result<Download, ApplyError> {
        let release = self.operation.release();
        let mut source = ChunkSource::new(release, &mut fetcher).await;
        let mut from_full = Download::default();
        loop {
            let unwritten = self
                .write_missing(&mut source)
                .await
                .map_err(|error| source.explain(error))?;
            let fetched = self
                .write_from_full(unwritten.failed_deltas, &mut full)
                .await?;
            // It is opened at most once.
            if fetched != Download::default() {
                from_full = fetched;
            }
            if !unwritten.must_fetch {
                break;
            }
            source.restart();
        }
        let read_locally = source.read_locally();
        let bundle_len = release.statement().bundle_len;
        if !fetcher.can_skip() {
            // Reads a pipe to the end of the bundle.
            fetcher.range(bundle_len, 0).await?;
        }
        let fetched = fetcher.finish(bundle_len).await?;
        Ok(Download {
            bytes: fetched.bytes + read_locally + from_full.bytes,
            requests: fetched.requests + from_full.requests,
            ..fetched
        })
    }

    /// Writes the missing chunks in one pass over the source.
    async fn write_missing<S: Source>(
        &mut self,
        source: &mut ChunkSource<'_, '_, S>,
    ) -> Result<Unwritten, ApplyError> {
        let release = self.operation.release();
        let batches = batches(release, &self.scan.origins, source.batch_len());
        let mut first = self.first_batch.take();
        if first.is_none() {
            source.expect(&batches);
        }
        let mut workers = self.start_workers();
        let mut read_back_failed = pin!(self.tracker.failed());
        let mut unwritten = Unwritten::default();
        let mut on_result = |result| self.note(result, &mut unwritten);
        let mut fetched = Ok(());
        for batch in batches {
            let fetching = async {
                match first.take_if(|first| first.batch == batch) {
                    Some(fetched) => Ok(fetched),
                    None => source.fetch(batch).await,
                }
            };
            let sent = tokio::select! {
                biased;
                () = &mut read_back_failed => Err(ApplyError::Stopped),
                sent = workers.send(fetching, &mut on_result) => {
                    sent.map_err(ApplyError::from)
                }
            };
            match sent {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    fetched = Err(error);
                    break;
                }
            }
        }
        // Batches fetched before an error are still written: the next run finds them in place.
        workers.finish(&mut on_result).await?;
        fetched?;
        Ok(unwritten)
    }

    fn start_workers(&self) -> Workers<FetchedBatch, BatchResult> {
        let operation = self.operation;
        let checksums = operation.context.options.read_back;
        operation.pool.start(|| {
            let mut worker = BatchWorker::new(&operation.writer, &self.scan.composition, checksums);
            move |batch| worker.write(batch)
        })
    }

    /// Notes the result of a batch.
    fn note(&mut self, result: BatchResult, unwritten: &mut Unwritten) {
        for chunk in &result.written {
            self.mark_in_place(chunk.number);
        }
        self.tracker.add_written(result.written);
        unwritten.must_fetch |= !result.missing.is_empty();
        for chunk in result.missing {
            self.scan.origins[chunk] = Origin::Stored;
        }
        for failed in result.failed_deltas {
            self.scan.origins[failed.chunk] = Origin::FailedDelta;
            unwritten.failed_deltas.push(failed);
        }
    }

    fn mark_in_place(&mut self, chunk: usize) {
        if self.scan.origins[chunk] != Origin::InPlace {
            let len = self.operation.release().chunks()[chunk].len;
            self.progress.add(u64::from(len));
        }
        self.scan.origins[chunk] = Origin::InPlace;
    }

    /// Writes the chunks that could not be decoded from the base, from the full bundle. Returns
    /// what was fetched from it.
    async fn write_from_full<S: Source>(
        &mut self,
        mut failed: Vec<FailedDelta>,
        full: &mut Option<LazyBundle<'_, S>>,
    ) -> Result<Download, ApplyError> {
        let release = self.operation.release();
        let writer = &self.operation.writer;
        failed.sort_unstable_by_key(|failed| failed.chunk);
        let numbers: Vec<usize> = failed.iter().map(|failed| failed.chunk).collect();
        let Some(first) = failed.into_iter().next() else {
            return Ok(Download::default());
        };
        let damage = match writer.delta_base() {
            Some(base) => base.find_damage(release, first),
            None => return Err(first.error.into()),
        };
        let Some(lazy) = full.take() else {
            return Err(Box::new(damage).into());
        };
        self.operation.warn(damage.to_string());
        let mut full = FullBundle::open(lazy, self.operation.context.options, release).await?;
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        for number in numbers {
            let chunk = &release.chunks()[number];
            let role = release.images()[chunk.image].role;
            bytes.resize(chunk.len as usize, 0);
            full.read(role, chunk.offset, &mut bytes).await?;
            if !matches_digest(chunk, &bytes, &mut blocks) {
                return Err(ApplyError::ImageDigest(writer.name(chunk.image)));
            }
            self.write_with_repeats(number, &bytes, &blocks)?;
        }
        Ok(full.fetched())
    }

    /// Writes verified bytes to the place of a chunk, and of all its repeats.
    fn write_with_repeats(
        &mut self,
        number: usize,
        bytes: &[u8],
        blocks: &[Hash],
    ) -> Result<(), ApplyError> {
        let release = self.operation.release();
        let writer = &self.operation.writer;
        let repeats = self.scan.origins.iter().enumerate();
        let repeats = repeats.filter(|(_, origin)| **origin == Origin::Repeat(number));
        let numbers: Vec<usize> = repeats.map(|(repeat, _)| repeat).chain([number]).collect();
        for number in numbers {
            let chunk = &release.chunks()[number];
            writer
                .write(chunk.image, chunk.offset, bytes)
                .map_err(|error| ApplyError::Write {
                    what: writer.name(chunk.image),
                    error,
                })?;
            if let Some(tree) = writer.tree() {
                tree.add(chunk, blocks);
            }
            self.mark_in_place(number);
            let checksum = checksum(bytes);
            self.tracker
                .add_written(vec![WrittenChunk { number, checksum }]);
        }
        Ok(())
    }
}
