//! Work on all cores that stops when nobody waits for it any more.

use crate::error::ApplyError;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};

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

/// Threads that take jobs from one queue. The queue is short, so that memory is bounded by what the
/// threads hold.
pub(crate) struct Workers<J, R> {
    jobs: mpsc::Sender<J>,
    results: mpsc::UnboundedReceiver<R>,
    failed: watch::Receiver<bool>,
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
        let (fail, failed) = watch::channel(false);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads).map(|_| {
            let (queue, told, stop, mut work) =
                (Arc::clone(&queue), told.clone(), stop.clone(), make());
            let fail = fail.clone();
            tokio::task::spawn_blocking(move || {
                let ended = take_jobs(&queue, &told, &stop, &mut work);
                if ended.is_err() {
                    fail.send_replace(true);
                }
                ended
            })
        });
        Self {
            jobs,
            results,
            failed,
            threads: threads.collect(),
        }
    }

    /// Hands over the job that comes of `making`, waiting while all threads are busy, and tells
    /// what is done by now. `None` means that a thread failed, and is returned as soon as it did,
    /// whatever `making` waits for; [`Self::finish`] tells how.
    ///
    /// # Errors
    /// That of `making`.
    pub(crate) async fn send<E>(
        &mut self,
        making: impl Future<Output = Result<J, E>>,
        told: &mut impl FnMut(R),
    ) -> Result<Option<()>, E> {
        let Self {
            jobs,
            results,
            failed,
            ..
        } = self;
        let sending = async { Ok(jobs.send(making.await?).await.ok()) };
        tokio::pin!(sending);
        loop {
            tokio::select! {
                biased;
                // An error means that no thread is left to fail: they stopped.
                _ = failed.wait_for(|failed| *failed) => return Ok(None),
                // What is done is told while the next job is waited for, too: a slow network must
                // not look like a slow disk.
                Some(result) = results.recv() => told(result),
                sent = &mut sending => return sent,
            }
        }
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// The first error of a thread; [`ApplyError::Stopped`] if the stop was set.
    pub(crate) async fn finish(self, told: &mut impl FnMut(R)) -> Result<(), ApplyError> {
        let Self {
            jobs,
            mut results,
            threads,
            ..
        } = self;
        drop(jobs);
        while let Some(result) = results.recv().await {
            told(result);
        }
        let mut result = Ok(());
        for thread in threads {
            let ended = thread
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
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
            let Ok(sent) = self
                .send(std::future::ready(Ok::<_, Infallible>(job)), &mut told)
                .await;
            if sent.is_none() {
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
        let job = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(job) = job else { return Ok(()) };
        if stop.is_set() {
            return Err(ApplyError::Stopped);
        }
        match work(job) {
            // Who does not listen any more has dropped the stop's guard too.
            Ok(result) => drop(told.send(result)),
            Err(error) => return Err(error),
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
        workers
            .all(0..1000, |square| squares.push(square))
            .await
            .expect("done");
        squares.sort_unstable();
        assert_eq!(squares, (0..1000).map(|job| job * job).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let fails = || {
            |job: u64| {
                if job == 500 {
                    Err(ApplyError::Whole("boot"))
                } else {
                    Ok(())
                }
            }
        };
        let mut done = 0;
        let ended = Workers::start(3, &Stop::default(), fails)
            .all(0..u64::MAX, |()| done += 1)
            .await;
        assert!(matches!(ended, Err(ApplyError::Whole("boot"))), "{ended:?}");
        assert!(done >= 500, "{done}");
    }

    #[tokio::test]
    async fn an_error_is_told_while_the_next_job_is_waited_for() {
        let fails = || |(): ()| Err::<(), _>(ApplyError::Whole("boot"));
        let mut workers = Workers::start(3, &Stop::default(), fails);
        let job = std::future::ready(Ok::<_, Infallible>(()));
        workers.send(job, &mut |()| ()).await.expect("made");
        // A job that never comes: a network that gives nothing any more.
        let never = std::future::pending::<Result<(), Infallible>>();
        assert_eq!(workers.send(never, &mut |()| ()).await, Ok(None));
        let ended = workers.finish(&mut |()| ()).await;
        assert!(matches!(ended, Err(ApplyError::Whole("boot"))), "{ended:?}");
    }

    #[tokio::test]
    async fn what_is_done_is_told_while_the_next_job_is_waited_for() {
        let mut workers = Workers::start(2, &Stop::default(), || |job: u32| Ok(job));
        let job = std::future::ready(Ok::<_, Infallible>(7));
        workers.send(job, &mut |_| ()).await.expect("made");
        let (tell, is_told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        // The next job does not come before the first one is known to be done.
        let next = async { is_told.await.map(|()| 8) };
        let mut done = Vec::new();
        let mut told = |job| {
            done.push(job);
            tell.take().map(|tell| tell.send(()));
        };
        let sent = workers.send(next, &mut told).await;
        assert_eq!(sent, Ok(Some(())));
        workers.finish(&mut told).await.expect("done");
        assert_eq!(done, [7, 8]);
    }

    #[tokio::test]
    async fn a_job_that_cannot_be_made_is_the_sender_s_error() {
        let mut workers = Workers::start(2, &Stop::default(), || |job: u32| Ok(job));
        let sent = workers
            .send(std::future::ready(Err("lost")), &mut |_| ())
            .await;
        assert_eq!(sent, Err("lost"));
        workers
            .finish(&mut |_| ())
            .await
            .expect("nothing was to be done");
    }

    #[tokio::test]
    async fn nothing_is_begun_after_a_stop() {
        let guard = StopOnDrop::default();
        let stop = guard.0.clone();
        drop(guard);
        let ended = Workers::start(2, &stop, || |_: u64| Ok(()))
            .all([1, 2, 3], |()| panic!("begun"))
            .await;
        assert!(matches!(ended, Err(ApplyError::Stopped)), "{ended:?}");
    }
}
