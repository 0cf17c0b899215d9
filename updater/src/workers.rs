//! Work on all cores that stops when nobody waits for it any more.

use crate::apply::ApplyError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Set when the apply that started the work is dropped: by an error, or by a person's Ctrl-C.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets its [`Stop`] when it is dropped.
#[derive(Default)]
pub(crate) struct StopOnDrop(pub(crate) Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Threads that take jobs from one queue. The queue is short, so that memory is bounded by what the threads hold.
pub(crate) struct Workers<J, R> {
    jobs: mpsc::Sender<J>,
    results: mpsc::UnboundedReceiver<R>,
    threads: Vec<tokio::task::JoinHandle<Result<(), ApplyError>>>,
}

impl<J: Send + 'static, R: Send + 'static> Workers<J, R> {
    /// Starts `threads` threads; `make` gives each of them what it works with.
    pub(crate) fn start<W>(threads: usize, stop: &Stop, make: impl Fn() -> W) -> Self
    where
        W: FnMut(J) -> Result<R, ApplyError> + Send + 'static,
    {
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::channel(threads);
        let (told, results) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads).map(|_| {
            let (queue, told, stop, mut work) = (Arc::clone(&queue), told.clone(), stop.clone(), make());
            tokio::task::spawn_blocking(move || take_jobs(&queue, &told, &stop, &mut work))
        });
        Self { jobs, results, threads: threads.collect() }
    }

    /// Hands a job over, waiting while all threads are busy, and tells what is done by now. False means that a
    /// thread failed; [`Self::finish`] tells how.
    pub(crate) async fn send(&mut self, job: J, told: &mut impl FnMut(R)) -> bool {
        let sent = self.jobs.send(job).await.is_ok();
        while let Ok(result) = self.results.try_recv() {
            told(result);
        }
        sent
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// The first error of a thread; [`ApplyError::Stopped`] if the stop was set.
    pub(crate) async fn finish(self, told: &mut impl FnMut(R)) -> Result<(), ApplyError> {
        let Self { jobs, mut results, threads } = self;
        drop(jobs);
        while let Some(result) = results.recv().await {
            told(result);
        }
        let mut result = Ok(());
        for thread in threads {
            let ended = thread.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            result = result.and(ended);
        }
        result
    }

    /// Does all of `jobs`.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(crate) async fn all(
        mut self,
        jobs: impl IntoIterator<Item = J>,
        mut told: impl FnMut(R),
    ) -> Result<(), ApplyError> {
        for job in jobs {
            if !self.send(job, &mut told).await {
                break;
            }
        }
        self.finish(&mut told).await
    }
}

fn take_jobs<J, R>(
    queue: &Mutex<mpsc::Receiver<J>>,
    told: &mpsc::UnboundedSender<R>,
    stop: &Stop,
    work: &mut impl FnMut(J) -> Result<R, ApplyError>,
) -> Result<(), ApplyError> {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return Ok(()) };
        if stop.is_set() {
            return Err(ApplyError::Stopped);
        }
        match work(job) {
            // Who does not listen any more has dropped the stop's guard too.
            Ok(result) => drop(told.send(result)),
            Err(error) => {
                // Nobody takes jobs any more, so that the sender finds out at once.
                queue.lock().unwrap_or_else(PoisonError::into_inner).close();
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_done_once_and_told() {
        let workers = Workers::start(3, &Stop::default(), || |job: u64| Ok(job * job));
        let mut squares = Vec::new();
        workers.all(0..1000, |square| squares.push(square)).await.expect("done");
        squares.sort_unstable();
        assert_eq!(squares, (0..1000).map(|job| job * job).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let fails = || |job: u64| if job == 500 { Err(ApplyError::Whole("boot")) } else { Ok(()) };
        let mut done = 0;
        let ended = Workers::start(3, &Stop::default(), fails).all(0..u64::MAX, |()| done += 1).await;
        assert!(matches!(ended, Err(ApplyError::Whole("boot"))), "{ended:?}");
        assert!(done >= 500, "{done}");
    }

    #[tokio::test]
    async fn nothing_is_begun_after_a_stop() {
        let guard = StopOnDrop::default();
        let stop = guard.0.clone();
        drop(guard);
        let ended = Workers::start(2, &stop, || |_: u64| Ok(())).all([1, 2, 3], |()| panic!("begun")).await;
        assert!(matches!(ended, Err(ApplyError::Stopped)), "{ended:?}");
    }
}
