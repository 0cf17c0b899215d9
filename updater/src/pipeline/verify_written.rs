//! What was written is read back while more is written: part by part, each after a flush that
//! followed its last write.

use crate::batch::{Origin, stretches};
use crate::error::ApplyError;
use crate::pipeline::read_back::{Stretch, compare_all};
use crate::scan::Survey;
use crate::slot::writer::Sinks;
use crate::worker_pool::Stop;
use bundle::Release;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Least bytes that are flushed and read back at a time: a disk may take dozens of milliseconds for
/// each flush, and what is shorter than this is read back in one piece at the end.
const PART_MIN: u64 = 64 << 20;
/// Parts in which a release is read back, if they are not shorter than that.
const PARTS: u64 = 16;

/// Bytes that are flushed and read back at a time, of so many in all. *Pure.* On a disk with a head
/// that would move to and fro nothing is read before all is written.
pub(crate) fn part_len(all: u64, is_rotating: bool) -> u64 {
    if is_rotating {
        u64::MAX
    } else {
        (all / PARTS).max(PART_MIN)
    }
}

/// A chunk that was written, or lies in its place already, and the checksum of its verified bytes.
pub(crate) type Note = (usize, u64);

/// What has to read back as it was verified, and what of it did. Pure bookkeeping.
pub(crate) struct Ledger {
    release: Arc<Release>,
    /// For each chunk, unless nobody asks for it.
    entries: Vec<Option<Entry>>,
    /// Flushes that have begun.
    flushes: u32,
    /// Bytes that were written, or found, since the last of them began.
    waiting: u64,
}

/// A chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sum: u64,
    /// Flushes that had begun when it was known to be written; `None` if it is not.
    written: Option<u32>,
    /// The flush after which it read back, counted from 1.
    proven: Option<u32>,
}

impl Entry {
    /// Whether it read back after a flush that followed its last write.
    fn is_proven(&self) -> bool {
        matches!((self.written, self.proven), (Some(written), Some(proven)) if proven > written)
    }

    /// Whether it has to be read back, and can be after flush `number`.
    fn is_due(&self, number: u32) -> bool {
        self.written.is_some_and(|written| written < number) && !self.is_proven()
    }
}

impl Ledger {
    /// Of all chunks that the survey wants, or of none; those that lie in their place already are
    /// to be read back as well.
    pub(crate) fn new(release: &Arc<Release>, survey: &Survey, is_asked_for: bool) -> Self {
        let wanted = |origin: &Origin| is_asked_for && *origin != Origin::Unwanted;
        let entries = survey
            .origins
            .iter()
            .map(|origin| wanted(origin).then(Entry::default))
            .collect();
        let mut ledger = Self {
            release: Arc::clone(release),
            entries,
            flushes: 0,
            waiting: 0,
        };
        let held = survey
            .origins
            .iter()
            .enumerate()
            .filter(|(_, origin)| **origin == Origin::Held);
        for (chunk, _) in held {
            ledger.wrote((chunk, survey.sums[chunk]));
        }
        ledger
    }

    /// A chunk was written; whatever was read of it before counts no more.
    pub(crate) fn wrote(&mut self, (chunk, sum): Note) {
        if let Some(Some(entry)) = self.entries.get_mut(chunk) {
            (entry.sum, entry.written) = (sum, Some(self.flushes));
            self.waiting += u64::from(self.release.chunks()[chunk].len);
        }
    }

    /// Says that a flush begins now. Returns its number.
    pub(crate) const fn begin_flush(&mut self) -> u32 {
        self.flushes += 1;
        self.waiting = 0;
        self.flushes
    }

    /// What can be read back after flush `number`, and was not.
    pub(crate) fn due(&self, number: u32) -> Vec<Stretch> {
        let is_due = |chunk: usize| self.entries[chunk].is_some_and(|entry| entry.is_due(number));
        let sums =
            |chunks: Range<usize>| self.entries[chunks].iter().flatten().map(|entry| entry.sum);
        let stretches = stretches(&self.release, is_due).into_iter();
        stretches
            .map(|chunks| Stretch {
                sums: sums(chunks.clone()).collect(),
                chunks,
            })
            .collect()
    }

    /// These chunks read back after flush `number`. Returns how many bytes they have.
    pub(crate) fn prove(&mut self, chunks: Range<usize>, number: u32) -> u64 {
        for entry in self.entries[chunks.clone()].iter_mut().flatten() {
            entry.proven = Some(number);
        }
        self.release.chunks()[chunks]
            .iter()
            .map(|chunk| u64::from(chunk.len))
            .sum()
    }

    /// Bytes that read back.
    pub(crate) fn proven_bytes(&self) -> u64 {
        let chunks = self.entries.iter().zip(self.release.chunks());
        let proven = chunks.filter(|(entry, _)| entry.is_some_and(|entry| entry.is_proven()));
        proven.map(|(_, chunk)| u64::from(chunk.len)).sum()
    }
}

/// Reads back at the same time as others write. What it finds out by the end is a [`Ledger`].
pub(crate) struct Proving {
    notes: mpsc::UnboundedSender<Vec<Note>>,
    failed: watch::Receiver<bool>,
    task: JoinHandle<Result<Ledger, ApplyError>>,
}

impl Proving {
    /// Begins: from now on each `part_len` bytes that were written are flushed, and read back by
    /// half as many threads as write, since those need the processors.
    pub(crate) fn start(
        sinks: &Arc<Sinks>,
        ledger: Ledger,
        part_len: u64,
        (jobs, stop): (usize, &Stop),
    ) -> Self {
        let (notes, written) = mpsc::unbounded_channel();
        let (fail, failed) = watch::channel(false);
        let (sinks, stop, jobs) = (Arc::clone(sinks), stop.clone(), jobs.div_ceil(2));
        let task = tokio::spawn(async move {
            let ended = prove_parts(&sinks, ledger, written, part_len, (jobs, &stop)).await;
            if ended.is_err() {
                fail.send_replace(true);
            }
            ended
        });
        Self {
            notes,
            failed,
            task,
        }
    }

    /// Takes note of chunks that were written.
    pub(crate) fn wrote(&self, notes: Vec<Note>) {
        // Who does not listen any more has failed, which `failed` and `end` tell.
        drop(self.notes.send(notes));
    }

    /// Waits until something did not read back, or could not be flushed: nothing more need be
    /// written.
    pub(crate) fn failed(&self) -> impl Future<Output = ()> + use<> {
        let mut failed = self.failed.clone();
        async move {
            // An end without a word is a panic, which `end` passes on.
            if failed.wait_for(|failed| *failed).await.is_err() {}
        }
    }

    /// Waits until the part that is being read back is done; what was written since then is left to
    /// be.
    ///
    /// # Errors
    /// [`ApplyError::ReadBack`], [`ApplyError::Write`] of a flush, [`ApplyError::Stopped`].
    pub(crate) async fn end(self) -> Result<Ledger, ApplyError> {
        let Self { notes, task, .. } = self;
        drop(notes);
        task.await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

async fn prove_parts(
    sinks: &Arc<Sinks>,
    mut ledger: Ledger,
    mut written: mpsc::UnboundedReceiver<Vec<Note>>,
    part_len: u64,
    workers: (usize, &Stop),
) -> Result<Ledger, ApplyError> {
    loop {
        // All that is known to be written before a flush begins is of its part.
        while let Ok(notes) = written.try_recv() {
            notes.into_iter().for_each(|note| ledger.wrote(note));
        }
        if written.is_closed() && written.is_empty() {
            return Ok(ledger);
        }
        if ledger.waiting >= part_len {
            let number = flush(sinks, &mut ledger).await?;
            compare_due(sinks, &mut ledger, number, workers, |_| ()).await?;
        } else if let Some(notes) = written.recv().await {
            notes.into_iter().for_each(|note| ledger.wrote(note));
        }
    }
}

/// Makes everything written so far durable. Returns the number of the flush. *Writes* nothing
/// itself.
///
/// # Errors
/// [`ApplyError::Write`].
pub(crate) async fn flush(sinks: &Arc<Sinks>, ledger: &mut Ledger) -> Result<u32, ApplyError> {
    let (number, sinks) = (ledger.begin_flush(), Arc::clone(sinks));
    let flushed = tokio::task::spawn_blocking(move || sinks.flush()).await;
    let flushed = flushed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    flushed.map_err(|error| ApplyError::Write {
        what: "flush",
        error,
    })?;
    Ok(number)
}

/// Reads back what can be after flush `number`, and was not. *Reads.*
///
/// # Errors
/// [`ApplyError::ReadBack`], [`ApplyError::Stopped`].
pub(crate) async fn compare_due(
    sinks: &Arc<Sinks>,
    ledger: &mut Ledger,
    number: u32,
    workers: (usize, &Stop),
    mut told: impl FnMut(u64),
) -> Result<(), ApplyError> {
    let due = ledger.due(number);
    compare_all(sinks, due, workers, |chunks| {
        told(ledger.prove(chunks, number))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_due_after_a_flush_that_began_after_its_last_write() {
        let never = Entry::default();
        assert!(!never.is_due(7) && !never.is_proven());
        // The second flush had begun by the time of the write.
        let written = Entry {
            written: Some(2),
            ..never
        };
        assert_eq!(
            [1, 2, 3].map(|number| written.is_due(number)),
            [false, false, true]
        );
        assert!(!written.is_proven());
        let proven = Entry {
            proven: Some(3),
            ..written
        };
        assert!(proven.is_proven() && !proven.is_due(4));
        let again = Entry {
            written: Some(3),
            ..proven
        };
        assert!(
            !again.is_proven(),
            "what was read before it was written again counts no more"
        );
        assert_eq!([3, 4].map(|number| again.is_due(number)), [false, true]);
    }

    #[test]
    fn what_is_short_is_read_back_at_the_end_and_so_is_everything_on_a_disk_with_a_head() {
        let (mib, gib) = (1 << 20, 1 << 30);
        assert!(part_len(60 * mib, false) > 60 * mib);
        assert_eq!(
            [gib, 4 * gib].map(|all| part_len(all, false)),
            [64 * mib, 256 * mib]
        );
        assert!(part_len(4 * gib, true) > 4 * gib);
    }
}
