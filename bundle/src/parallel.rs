//! Work on many threads whose results come back in order, with a bounded number of pieces under way.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// Pieces under way for each worker: one in hand, the others ready, so that no worker waits for the caller.
const PIECES_PER_WORKER: usize = 4;

/// Calls `consume` with the result of `work` for every piece that `produce` gives, in that order.
///
/// `produce` and `consume` run on the calling thread, `work` on `workers` threads, each with a state made by
/// `state`. No more than four pieces per worker are under way, so memory does not depend on how many there are. The
/// outcome does not depend on `workers`.
///
/// # Errors
/// The first error of `produce` or `consume`; pieces under way are then dropped.
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
    let window = workers.saturating_mul(PIECES_PER_WORKER);
    let (send_piece, pieces) = mpsc::channel::<(u64, P)>();
    let pieces = Mutex::new(pieces);
    let (send_result, results) = mpsc::channel::<(u64, thread::Result<R>)>();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (pieces, send_result, state, work) = (&pieces, send_result.clone(), &state, &work);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, piece)) = next else { break };
                    let result = panic::catch_unwind(AssertUnwindSafe(|| work(&mut state, piece)));
                    if send_result.send((number, result)).is_err() {
                        break;
                    }
                }
            });
        }
        let outcome = drive(window, &mut produce, &send_piece, &results, &mut consume);
        // On an error, let workers drain instead of working off what is queued.
        drop((send_piece, send_result, results));
        outcome
    })
}

fn drive<P, R, E>(
    window: usize,
    produce: &mut impl FnMut() -> Result<Option<P>, E>,
    pieces: &mpsc::Sender<(u64, P)>,
    results: &mpsc::Receiver<(u64, thread::Result<R>)>,
    consume: &mut impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let (mut sent, mut consumed) = (0_u64, 0_u64);
    let mut early = BTreeMap::new();
    let mut more = true;
    loop {
        while more && sent - consumed < window as u64 {
            match produce()? {
                Some(piece) => {
                    pieces
                        .send((sent, piece))
                        .unwrap_or_else(|_| unreachable!("the receiver outlives this call"));
                    sent += 1;
                }
                None => more = false,
            }
        }
        if sent == consumed {
            return Ok(());
        }
        let (number, result) = results.recv().unwrap_or_else(|_| unreachable!("a sender outlives this call"));
        early.insert(number, result.unwrap_or_else(|payload| panic::resume_unwind(payload)));
        while let Some(result) = early.remove(&consumed) {
            consume(result)?;
            consumed += 1;
        }
    }
}

/// How many workers make use of this machine.
#[must_use]
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_workers() {
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
    fn an_error_ends_the_work_and_no_more_is_produced_than_the_window() {
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
}
