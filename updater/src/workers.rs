//! Threads that verify, decompress, verify and write, with memory for a few frames each.

use crate::apply::ApplyError;
use crate::parallel::Stop;
use crate::sink::Sinks;
use bundle::{Decoder, StoredFrame};
use bytes::Bytes;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// A frame on its way to the disk.
pub(crate) struct Job {
    /// The frame whose stored bytes these are.
    pub(crate) source: usize,
    /// The frames that are made of it: itself, and those that repeat it.
    pub(crate) places: Vec<usize>,
    /// They, not checked yet.
    pub(crate) stored: Bytes,
}

/// Threads that verify, decompress, verify and write.
pub(crate) struct Workers {
    jobs: mpsc::Sender<Job>,
    threads: Vec<tokio::task::JoinHandle<Result<(), ApplyError>>>,
}

impl Workers {
    /// Frames that wait for a thread, per thread.
    const WAITING: usize = 2;

    pub(crate) fn start(threads: usize, sinks: Arc<Sinks>, stop: Stop) -> Self {
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::channel(threads * Self::WAITING);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads).map(|_| {
            let (queue, sinks, stop) = (Arc::clone(&queue), Arc::clone(&sinks), stop.clone());
            tokio::task::spawn_blocking(move || Self::work(&queue, &sinks, &stop))
        });
        Self { jobs, threads: threads.collect() }
    }

    fn work(queue: &Mutex<mpsc::Receiver<Job>>, sinks: &Sinks, stop: &Stop) -> Result<(), ApplyError> {
        let mut decoder = Decoder::default();
        let mut plain = Vec::new();
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(job) = job else { return Ok(()) };
            if stop.is_set() {
                return Err(ApplyError::Stopped);
            }
            let written = Self::write_frame(sinks, job, &mut decoder, &mut plain);
            if written.is_err() {
                // Nobody takes jobs any more, so that the sender finds out at once.
                queue.lock().unwrap_or_else(PoisonError::into_inner).close();
                return written;
            }
        }
    }

    fn write_frame(
        sinks: &Sinks,
        job: Job,
        decoder: &mut Decoder,
        plain: &mut Vec<u8>,
    ) -> Result<(), ApplyError> {
        let release = sinks.release();
        let frame = StoredFrame::check(release, job.source, job.stored)?;
        // A repeat is made of the frame that it repeats, and a delta is refused in the plan: nothing is asked for.
        decoder.decode(release, &frame, plain, |_, _| Err(io::ErrorKind::Unsupported.into()))?;
        let written = job.places.iter().try_for_each(|place| sinks.write(*place, plain));
        written.map_err(|error| ApplyError::Write { what: "image", error })
    }

    /// Hands a frame over, waiting while all threads are busy. False means that a thread failed;
    /// [`Self::finish`] tells how.
    pub(crate) async fn send(&self, job: Job) -> bool {
        self.jobs.send(job).await.is_ok()
    }

    pub(crate) async fn finish(self) -> Result<(), ApplyError> {
        drop(self.jobs);
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            result = result.and(ended);
        }
        result
    }
}
