//! Reading back while more is written: part by part, each after a flush that followed its last
//! write.

use super::read_back::{ChunkChecksums, compare_chunks};
use crate::batch::{Origin, neighbours, total_len};
use crate::error::ApplyError;
use crate::scan::Scan;
use crate::slot::writer::SlotWriter;
use crate::worker_pool::{WorkerPool, join};
use bundle::Release;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Minimum length of a part: a disk may take dozens of milliseconds per flush. A shorter release is
/// read back as a whole at the end.
const MIN_PART_LEN: u64 = 64 << 20;
/// Maximum number of parts.
const MAX_PARTS: u64 = 16;

/// Returns the length of a part, for a release of `total` bytes. *Pure.* On a rotating disk, whose
/// head would move to and fro, the whole is one part.
pub(crate) fn part_len(total: u64, is_rotating: bool) -> u64 {
    if is_rotating {
        u64::MAX
    } else {
        (total / MAX_PARTS).max(MIN_PART_LEN)
    }
}

/// A chunk that was written or is in place, and the checksum of its verified bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenChunk {
    pub(crate) number: usize,
    pub(crate) checksum: u64,
}

/// The chunks to read back, and those that were. *Pure.*
pub(crate) struct ReadBackLedger {
    release: Arc<Release>,
    /// For each chunk; `None` if it is not to be read back.
    entries: Vec<Option<Entry>>,
    /// Number of flushes begun.
    flushes: u32,
    /// Bytes written since the last of them began.
    unflushed: u64,
}

/// The state of a chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    checksum: u64,
    /// Number of flushes begun when it was known to be written; `None` if it is not.
    written: Option<u32>,
    /// The flush after which it was read back, counted from 1.
    verified: Option<u32>,
}

impl Entry {
    /// Returns whether it was read back after a flush that followed its last write.
    fn is_verified(&self) -> bool {
        self.written
            .zip(self.verified)
            .is_some_and(|(written, verified)| verified > written)
    }

    /// Returns whether it is to be read back after flush `number`.
    fn is_due(&self, number: u32) -> bool {
        self.written.is_some_and(|written| written < number) && !self.is_verified()
    }
}

impl ReadBackLedger {
    /// Returns a ledger of all chunks with a destination, those in place included; of none if
    /// `read_back` is false.
    pub(crate) fn new(release: &Arc<Release>, scan: &Scan, read_back: bool) -> Self {
        let entry = |origin: &Origin| {
            let is_read_back = read_back && *origin != Origin::Unwanted;
            is_read_back.then(Entry::default)
        };
        let mut ledger = Self {
            release: Arc::clone(release),
            entries: scan.origins.iter().map(entry).collect(),
            flushes: 0,
            unflushed: 0,
        };
        for (number, origin) in scan.origins.iter().enumerate() {
            if *origin == Origin::InPlace {
                let checksum = scan.checksums[number];
                ledger.add_written(WrittenChunk { number, checksum });
            }
        }
        ledger
    }

    /// Notes a write. An earlier read back of the chunk does not count any more.
    fn add_written(&mut self, chunk: WrittenChunk) {
        if let Some(Some(entry)) = self.entries.get_mut(chunk.number) {
            entry.checksum = chunk.checksum;
            entry.written = Some(self.flushes);
            self.unflushed += u64::from(self.release.chunks()[chunk.number].len);
        }
    }

    /// Notes the beginning of a flush. Returns its number.
    const fn begin_flush(&mut self) -> u32 {
        self.flushes += 1;
        self.unflushed = 0;
        self.flushes
    }

    /// Returns the chunks to read back after flush `number`.
    fn due(&self, number: u32) -> Vec<ChunkChecksums> {
        let is_due = |chunk: usize| self.entries[chunk].is_some_and(|entry| entry.is_due(number));
        neighbours(&self.release, is_due)
            .into_iter()
            .map(|chunks| ChunkChecksums {
                checksums: self.checksums(chunks.clone()),
                chunks,
            })
            .collect()
    }

    fn checksums(&self, chunks: Range<usize>) -> Vec<u64> {
        let entries = self.entries[chunks].iter().flatten();
        entries.map(|entry| entry.checksum).collect()
    }

    /// Notes that chunks were read back after flush `number`. Returns their length in bytes.
    fn add_verified(&mut self, chunks: Range<usize>, number: u32) -> u64 {
        for entry in self.entries[chunks.clone()].iter_mut().flatten() {
            entry.verified = Some(number);
        }
        total_len(&self.release, chunks)
    }

    /// Returns the number of bytes that were read back.
    pub(crate) fn verified_bytes(&self) -> u64 {
        let is_verified =
            |chunk: &usize| self.entries[*chunk].is_some_and(|entry| entry.is_verified());
        total_len(&self.release, (0..self.entries.len()).filter(is_verified))
    }
}

/// Reads back in a task of its own while chunks are written.
pub(crate) struct ReadBackTracker {
    written: mpsc::UnboundedSender<Vec<WrittenChunk>>,
    failed: watch::Receiver<bool>,
    task: JoinHandle<Result<ReadBackLedger, ApplyError>>,
}

impl ReadBackTracker {
    /// Starts the task. Whenever `part_len` bytes were written, it flushes them and reads them back
    /// with half of the threads of `pool`, because writing needs the processors.
    pub(crate) fn start(
        writer: &Arc<SlotWriter>,
        ledger: ReadBackLedger,
        part_len: u64,
        pool: &WorkerPool,
    ) -> Self {
        let (written, receiver) = mpsc::unbounded_channel();
        let (failed_sender, failed) = watch::channel(false);
        let task = PartVerifier {
            writer: Arc::clone(writer),
            ledger,
            written: receiver,
            part_len,
            pool: pool.half(),
        };
        let task = tokio::spawn(async move {
            let ended = task.verify_parts().await;
            if ended.is_err() {
                failed_sender.send_replace(true);
            }
            ended
        });
        Self {
            written,
            failed,
            task,
        }
    }

    /// Notes chunks that were written.
    pub(crate) fn add_written(&self, chunks: Vec<WrittenChunk>) {
        // A closed channel means that the task failed, which `failed` and `finish` report.
        drop(self.written.send(chunks));
    }

    /// Waits until reading back or a flush failed, so that no more needs to be written.
    pub(crate) fn failed(&self) -> impl Future<Output = ()> + use<> {
        let mut failed = self.failed.clone();
        async move {
            // A closed channel means a panic, which continues in `finish`.
            if failed.wait_for(|failed| *failed).await.is_err() {}
        }
    }

    /// Waits for the part that is being read back. Chunks written after it are left for the end.
    ///
    /// # Errors
    /// [`ApplyError::ReadBack`], [`ApplyError::Write`] of a flush, [`ApplyError::Stopped`].
    pub(crate) async fn finish(self) -> Result<ReadBackLedger, ApplyError> {
        let Self { written, task, .. } = self;
        drop(written);
        join(task).await
    }
}

struct PartVerifier {
    writer: Arc<SlotWriter>,
    ledger: ReadBackLedger,
    written: mpsc::UnboundedReceiver<Vec<WrittenChunk>>,
    part_len: u64,
    pool: WorkerPool,
}

impl PartVerifier {
    async fn verify_parts(mut self) -> Result<ReadBackLedger, ApplyError> {
        loop {
            // All chunks that are known to be written before a flush begins belong to its part.
            while let Ok(chunks) = self.written.try_recv() {
                self.add_written(chunks);
            }
            if self.written.is_closed() && self.written.is_empty() {
                return Ok(self.ledger);
            }
            if self.ledger.unflushed >= self.part_len {
                let number = flush(&self.writer, &mut self.ledger).await?;
                compare_due(&self.writer, &mut self.ledger, number, &self.pool, |_| ()).await?;
            } else if let Some(chunks) = self.written.recv().await {
                self.add_written(chunks);
            }
        }
    }

    fn add_written(&mut self, chunks: Vec<WrittenChunk>) {
        for chunk in chunks {
            self.ledger.add_written(chunk);
        }
    }
}

/// Makes everything written so far durable. Returns the number of the flush.
///
/// # Errors
/// [`ApplyError::Write`].
///
/// # Power loss
/// Before it returns, any of the bytes since the last flush may be missing.
pub(crate) async fn flush(
    writer: &Arc<SlotWriter>,
    ledger: &mut ReadBackLedger,
) -> Result<u32, ApplyError> {
    let number = ledger.begin_flush();
    let writer = Arc::clone(writer);
    join(tokio::task::spawn_blocking(move || writer.flush()))
        .await
        .map_err(|error| ApplyError::Write {
            what: "flush",
            error,
        })?;
    Ok(number)
}

/// Reads back the chunks that are due after flush `number`, and calls `on_bytes` with the number of
/// bytes that are equal. *Reads.*
///
/// # Errors
/// [`ApplyError::ReadBack`], [`ApplyError::Stopped`].
pub(crate) async fn compare_due(
    writer: &Arc<SlotWriter>,
    ledger: &mut ReadBackLedger,
    number: u32,
    pool: &WorkerPool,
    mut on_bytes: impl FnMut(u64),
) -> Result<(), ApplyError> {
    let due = ledger.due(number);
    let on_equal = |chunks| on_bytes(ledger.add_verified(chunks, number));
    compare_chunks(writer, due, pool, on_equal).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_due_after_a_flush_that_began_after_its_last_write() {
        let never = Entry::default();
        assert!(!never.is_due(7) && !never.is_verified());
        // The second flush had begun by the time of the write.
        let written = Entry {
            written: Some(2),
            ..never
        };
        assert_eq!(
            [1, 2, 3].map(|number| written.is_due(number)),
            [false, false, true]
        );
        assert!(!written.is_verified());
        let verified = Entry {
            verified: Some(3),
            ..written
        };
        assert!(verified.is_verified() && !verified.is_due(4));
        let written_again = Entry {
            written: Some(3),
            ..verified
        };
        assert!(
            !written_again.is_verified(),
            "a read back before the last write does not count"
        );
        assert_eq!(
            [3, 4].map(|number| written_again.is_due(number)),
            [false, true]
        );
    }

    #[test]
    fn a_short_release_and_a_rotating_disk_are_read_back_at_the_end() {
        let (mib, gib) = (1 << 20, 1 << 30);
        assert!(part_len(60 * mib, false) > 60 * mib);
        assert_eq!(
            [gib, 4 * gib].map(|total| part_len(total, false)),
            [64 * mib, 256 * mib]
        );
        assert!(part_len(4 * gib, true) > 4 * gib);
    }
}
