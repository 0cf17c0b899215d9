//! Threads that take jobs from an asynchronous task, and stop when that task is dropped.
//!
//! `bundle::parallel::ordered` is not used here, although both bound the number of jobs in
//! progress. It blocks the calling thread, which works on jobs itself, and returns results in
//! order. An apply awaits the network for each job: it must report finished batches and failed
//! threads while it waits, in any order, and it must be possible to drop it at that point. One
//! implementation would need an asynchronous runtime in `bundle`, or would delay results behind a
//! slow network here.

use crate::error::ApplyError;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};

/// Set when the task that started the work is dropped: by an error, or by the caller.
#[derive(Clone, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets its [`StopFlag`] when it is dropped.
#[derive(Default)]
pub(crate) struct StopGuard(StopFlag);

impl StopGuard {
    /// Returns a pool of `threads` threads that stops when the guard is dropped.
    pub(crate) fn pool(&self, threads: usize) -> WorkerPool {
        WorkerPool {
            threads,
            stop: self.0.clone(),
        }
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The number of threads to start, and the flag that stops them.
#[derive(Clone)]
pub(crate) struct WorkerPool {
    threads: usize,
    stop: StopFlag,
}

impl WorkerPool {
    /// Returns a pool of half as many threads, at least one.
    pub(crate) fn half(&self) -> Self {
        Self {
            threads: self.threads.div_ceil(2),
            stop: self.stop.clone(),
        }
    }

    /// Starts the threads. `make_worker` returns the function that one thread applies to its jobs.
    pub(crate) fn start<J, R, W>(&self, make_worker: impl Fn() -> W) -> Workers<J, R>
    where
        J: Send + 'static,
        R: Send + 'static,
        W: FnMut(J) -> Result<R, ApplyError> + Send + 'static,
    {
        let threads = self.threads.max(1);
        let (jobs, queue) = mpsc::channel(threads);
        let (results_sender, results) = mpsc::unbounded_channel();
        let (failed_sender, failed) = watch::channel(false);
        let queue = Arc::new(Mutex::new(queue));
        let start_thread = |_| {
            let mut thread = WorkerThread {
                queue: Arc::clone(&queue),
                results: results_sender.clone(),
                stop: self.stop.clone(),
                work: make_worker(),
            };
            let failed = failed_sender.clone();
            tokio::task::spawn_blocking(move || {
                let ended = thread.run();
                if ended.is_err() {
                    failed.send_replace(true);
                }
                ended
            })
        };
        Workers {
            jobs,
            results,
            failed,
            threads: (0..threads).map(start_thread).collect(),
        }
    }

    /// Works on all of `jobs`, and calls `on_result` with each result, in any order.
    ///
    /// # Errors
    /// As [`Workers::finish`].
    pub(crate) async fn run_all<J, R, W>(
        &self,
        jobs: impl IntoIterator<Item = J>,
        make_worker: impl Fn() -> W,
        mut on_result: impl FnMut(R),
    ) -> Result<(), ApplyError>
    where
        J: Send + 'static,
        R: Send + 'static,
        W: FnMut(J) -> Result<R, ApplyError> + Send + 'static,
    {
        let mut workers = self.start(make_worker);
        for job in jobs {
            let job = std::future::ready(Ok::<_, Infallible>(job));
            let Ok(sent) = workers.send(job, &mut on_result).await;
            if sent.is_break() {
                break;
            }
        }
        workers.finish(&mut on_result).await
    }
}

/// Threads that take jobs from one queue. The queue holds one job per thread, which bounds memory.
pub(crate) struct Workers<J, R> {
    jobs: mpsc::Sender<J>,
    results: mpsc::UnboundedReceiver<R>,
    failed: watch::Receiver<bool>,
    threads: Vec<tokio::task::JoinHandle<Result<(), ApplyError>>>,
}

impl<J: Send + 'static, R: Send + 'static> Workers<J, R> {
    /// Sends the job that `job` resolves to, waiting while all threads are busy, and calls
    /// `on_result` with the results that arrive meanwhile. Returns `Break` as soon as a thread
    /// failed, even while `job` is pending; [`Self::finish`] returns the error.
    ///
    /// # Errors
    /// That of `job`.
    pub(crate) async fn send<E>(
        &mut self,
        job: impl Future<Output = Result<J, E>>,
        on_result: &mut impl FnMut(R),
    ) -> Result<ControlFlow<()>, E> {
        let Self {
            jobs,
            results,
            failed,
            ..
        } = self;
        let sending = async {
            Ok(match jobs.send(job.await?).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        };
        tokio::pin!(sending);
        loop {
            tokio::select! {
                biased;
                // An error means that all threads ended, because one failed or the flag was set.
                _ = failed.wait_for(|failed| *failed) => return Ok(ControlFlow::Break(())),
                // Results are reported while the next job is pending, so that a slow network does
                // not look like a slow disk.
                Some(result) = results.recv() => on_result(result),
                sent = &mut sending => return sent,
            }
        }
    }

    /// Waits until all jobs are done, and calls `on_result` with the remaining results.
    ///
    /// # Errors
    /// The first error of a thread; [`ApplyError::Stopped`] if the flag was set.
    pub(crate) async fn finish(mut self, on_result: &mut impl FnMut(R)) -> Result<(), ApplyError> {
        drop(self.jobs);
        while let Some(result) = self.results.recv().await {
            on_result(result);
        }
        let mut ended = Ok(());
        for thread in self.threads {
            ended = ended.and(join(thread).await);
        }
        ended
    }
}

/// Returns the result of a task; a panic in it continues here.
pub(crate) async fn join<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

struct WorkerThread<J, R, W> {
    queue: Arc<Mutex<mpsc::Receiver<J>>>,
    results: mpsc::UnboundedSender<R>,
    stop: StopFlag,
    work: W,
}

impl<J, R, W: FnMut(J) -> Result<R, ApplyError>> WorkerThread<J, R, W> {
    fn run(&mut self) -> Result<(), ApplyError> {
        while let Some(job) = self.next_job() {
            if self.stop.is_set() {
                return Err(ApplyError::Stopped);
            }
            let result = (self.work)(job)?;
            // A closed channel means that the receiver was dropped, which also sets the stop flag.
            drop(self.results.send(result));
        }
        Ok(())
    }

    fn next_job(&self) -> Option<J> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.blocking_recv()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> (StopGuard, WorkerPool) {
        let guard = StopGuard::default();
        let pool = guard.pool(threads);
        (guard, pool)
    }

    #[tokio::test]
    async fn each_job_is_done_once_and_its_result_reported() {
        let (_guard, pool) = pool(3);
        let mut squares = Vec::new();
        pool.run_all(
            0..1000,
            || |job: u64| Ok(job * job),
            |square| squares.push(square),
        )
        .await
        .expect("done");
        squares.sort_unstable();
        assert_eq!(squares, (0..1000).map(|job| job * job).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_first_error_ends_the_work() {
        let fails_at_500 = || {
            |job: u64| {
                if job == 500 {
                    Err(ApplyError::ImageDigest("boot"))
                } else {
                    Ok(())
                }
            }
        };
        let mut done = 0;
        let (_guard, pool) = pool(3);
        let ended = pool
            .run_all(0..u64::MAX, fails_at_500, |()| done += 1)
            .await;
        assert!(
            matches!(ended, Err(ApplyError::ImageDigest("boot"))),
            "{ended:?}"
        );
        assert!(done >= 500, "{done}");
    }

    #[tokio::test]
    async fn an_error_is_reported_while_the_next_job_is_pending() {
        let (_guard, pool) = pool(3);
        let mut workers = pool.start(|| |(): ()| Err::<(), _>(ApplyError::ImageDigest("boot")));
        let job = std::future::ready(Ok::<_, Infallible>(()));
        let sent = workers.send(job, &mut |()| ()).await;
        assert!(sent.is_ok(), "a job that is ready");
        // A job that never comes, as from a network that stalls.
        let never = std::future::pending::<Result<(), Infallible>>();
        let sent = workers.send(never, &mut |()| ()).await;
        assert_eq!(sent, Ok(ControlFlow::Break(())));
        let ended = workers.finish(&mut |()| ()).await;
        assert!(
            matches!(ended, Err(ApplyError::ImageDigest("boot"))),
            "{ended:?}"
        );
    }

    #[tokio::test]
    async fn a_result_is_reported_while_the_next_job_is_pending() {
        let (_guard, pool) = pool(2);
        let mut workers = pool.start(|| |job: u32| Ok(job));
        let job = std::future::ready(Ok::<_, Infallible>(7));
        let sent = workers.send(job, &mut |_| ()).await;
        assert!(sent.is_ok(), "a job that is ready");
        let (report, is_reported) = tokio::sync::oneshot::channel();
        let mut report = Some(report);
        // The next job does not come before the first result is reported.
        let next = async { is_reported.await.map(|()| 8) };
        let mut done = Vec::new();
        let mut on_result = |job| {
            done.push(job);
            report.take().map(|report| report.send(()));
        };
        let sent = workers.send(next, &mut on_result).await;
        assert_eq!(sent, Ok(ControlFlow::Continue(())));
        workers.finish(&mut on_result).await.expect("done");
        assert_eq!(done, [7, 8]);
    }

    #[tokio::test]
    async fn a_job_that_fails_to_resolve_is_the_error_of_the_sender() {
        let (_guard, pool) = pool(2);
        let mut workers = pool.start(|| |job: u32| Ok(job));
        let sent = workers
            .send(std::future::ready(Err("lost")), &mut |_| ())
            .await;
        assert_eq!(sent, Err("lost"));
        workers.finish(&mut |_| ()).await.expect("no job to do");
    }

    #[tokio::test]
    async fn no_job_begins_after_a_stop() {
        let (guard, pool) = pool(2);
        drop(guard);
        let ended = pool
            .run_all([1, 2, 3], || |_: u64| Ok(()), |()| panic!("begun"))
            .await;
        assert!(matches!(ended, Err(ApplyError::Stopped)), "{ended:?}");
    }
}
