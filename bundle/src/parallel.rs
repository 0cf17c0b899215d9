//! Work on many threads with results in order and bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

/// Number of pieces in progress for each worker: one being worked on, the others ready, so that no
/// worker waits for the caller.
const PIECES_PER_WORKER: usize = 4;

/// Calls `consume` with the result of `work` for every piece that `produce` returns, in that order.
///
/// `produce` and `consume` run on the calling thread. `work` runs on `workers` threads, one of
/// which is the calling thread; each has its own value of `state`. Maximum four pieces for each
/// worker are in progress, so memory does not depend on the number of pieces. The result does not
/// depend on `workers`.
///
/// # Errors
/// The first error of `produce` or `consume`; pieces in progress are then dropped.
///
/// # Panics
/// If `work` panics.
pub fn ordered<P: Send, R: Send, S, E>(
    workers: usize,
    mut produce: impl FnMut() -> Result<Option<P>, E>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, P) -> R + Sync,
    mut consume: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let workers = workers.max(1);
    let queue = Queue::default();
    let (send_result, results) = mpsc::channel::<(u64, thread::Result<R>)>();
    thread::scope(|scope| {
        // Dropped on return and on panic: otherwise workers would wait for pieces for ever.
        let _close = CloseOnDrop(&queue);
        for _ in 1..workers {
            let (queue, send_result, state, work) = (&queue, send_result.clone(), &state, &work);
            scope.spawn(move || {
                let mut state = state();
                while let Some((number, piece)) = queue.wait() {
                    let result = panic::catch_unwind(AssertUnwindSafe(|| work(&mut state, piece)));
                    if send_result.send((number, result)).is_err() {
                        break;
                    }
                }
            });
        }
        let mut own = state();
        let pipeline = Pipeline {
            queue: &queue,
            results: &results,
            window: (workers * PIECES_PER_WORKER) as u64,
        };
        pipeline.drive(
            &mut produce,
            &mut |piece| work(&mut own, piece),
            &mut consume,
        )
    })
}

/// The calling thread's ends of queue and channel.
struct Pipeline<'a, P, R> {
    queue: &'a Queue<P>,
    results: &'a mpsc::Receiver<(u64, thread::Result<R>)>,
    window: u64,
}

impl<P, R> Pipeline<'_, P, R> {
    fn drive<E>(
        &self,
        produce: &mut impl FnMut() -> Result<Option<P>, E>,
        work: &mut impl FnMut(P) -> R,
        consume: &mut impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut sent, mut consumed) = (0_u64, 0_u64);
        let mut early = BTreeMap::new();
        let mut more = true;
        loop {
            for (number, result) in self.results.try_iter() {
                early.insert(
                    number,
                    result.unwrap_or_else(|payload| panic::resume_unwind(payload)),
                );
            }
            while let Some(result) = early.remove(&consumed) {
                consume(result)?;
                consumed += 1;
            }
            if more && sent - consumed < self.window {
                match produce()? {
                    Some(piece) => {
                        self.queue.put(sent, piece);
                        sent += 1;
                    }
                    None => more = false,
                }
            } else if let Some((number, piece)) = self.queue.take() {
                early.insert(number, work(piece));
            } else if sent > consumed {
                // Other threads work on all pieces that are left.
                let (number, result) = self
                    .results
                    .recv()
                    .unwrap_or_else(|_| unreachable!("the caller holds a sender"));
                early.insert(
                    number,
                    result.unwrap_or_else(|payload| panic::resume_unwind(payload)),
                );
            } else {
                return Ok(());
            }
        }
    }
}

/// Numbered pieces on which no thread works yet.
struct Queue<P> {
    state: Mutex<QueueState<P>>,
    changed: Condvar,
}

struct QueueState<P> {
    pieces: VecDeque<(u64, P)>,
    closed: bool,
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        let state = QueueState {
            pieces: VecDeque::new(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

impl<P> Queue<P> {
    fn lock(&self) -> MutexGuard<'_, QueueState<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, number: u64, piece: P) {
        self.lock().pieces.push_back((number, piece));
        self.changed.notify_one();
    }

    /// Returns the next piece, if there is one.
    fn take(&self) -> Option<(u64, P)> {
        self.lock().pieces.pop_front()
    }

    /// Waits for the next piece; returns `None` when the queue is closed.
    fn wait(&self) -> Option<(u64, P)> {
        let idle = |state: &mut QueueState<P>| state.pieces.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), idle);
        state
            .unwrap_or_else(PoisonError::into_inner)
            .pieces
            .pop_front()
    }
}

/// Closes a queue when it is dropped; pieces left in it are dropped too.
struct CloseOnDrop<'a, P>(&'a Queue<P>);

impl<P> Drop for CloseOnDrop<'_, P> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.pieces.clear();
        self.0.changed.notify_all();
    }
}

/// Returns the number of processors, the default number of workers.
#[must_use]
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_order_with_any_number_of_workers() {
        for workers in [1, 2, 7] {
            let mut next = 0..1000_u32;
            let mut seen = Vec::new();
            let outcome: Result<(), ()> = ordered(
                workers,
                || Ok(next.next()),
                || (),
                |(), number| number * 2,
                |double| {
                    seen.push(double);
                    Ok(())
                },
            );
            assert_eq!(outcome, Ok(()));
            assert_eq!(seen, (0..1000).map(|number| number * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work_with_no_more_pieces_produced_than_the_window() {
        let mut produced = 0;
        let outcome = ordered(
            2,
            || {
                produced += 1;
                Ok(Some(produced))
            },
            || (),
            |(), piece| piece,
            |_| Err("full"),
        );
        assert_eq!(outcome, Err("full"));
        assert!(produced <= 2 * PIECES_PER_WORKER, "{produced}");
    }

    #[test]
    fn the_caller_is_one_of_the_worker_threads() {
        for workers in [1, 3] {
            let (mut left, mut threads) = (64, HashSet::new());
            // Each piece waits until all workers have one: with fewer threads this never ends.
            let together = Barrier::new(workers);
            let outcome: Result<(), ()> = ordered(
                workers,
                || {
                    left -= 1;
                    Ok((left >= 0 && left as usize >= 64 % workers).then_some(()))
                },
                || (),
                |(), ()| {
                    together.wait();
                    thread::current().id()
                },
                |thread| {
                    threads.insert(thread);
                    Ok(())
                },
            );
            assert_eq!(outcome, Ok(()));
            assert!(threads.contains(&thread::current().id()), "{workers}");
            assert_eq!(threads.len(), workers);
        }
    }

    #[test]
    fn a_panic_of_any_closure_reaches_the_caller_and_ends_all_threads() {
        for (workers, place) in [(1, "work"), (3, "work"), (3, "produce"), (3, "consume")] {
            let at = |here: &str, number: i32| assert!(place != here || number < 20, "{here}");
            let mut next = 0..100;
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                ordered::<_, _, _, ()>(
                    workers,
                    || Ok(next.next().inspect(|number| at("produce", *number))),
                    || (),
                    |(), number| {
                        at("work", number);
                        number
                    },
                    |number| {
                        at("consume", number);
                        Ok(())
                    },
                )
            }));
            let said = outcome.unwrap_err();
            assert_eq!(
                said.downcast_ref::<String>().map(String::as_str),
                Some(place)
            );
        }
    }
}
