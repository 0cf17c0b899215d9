//! Work on all cores that stops when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Set when the apply that started the work is dropped: by an error, or by a person's Ctrl-C.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
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

/// Calls `work` for each of `items` on `jobs` threads, each with a buffer of its own, and gives the results in
/// the order of the items. The first error ends it; a set `stop` ends it with what is there.
pub(crate) fn for_each<T: Send, E: Send>(
    items: &[usize],
    jobs: usize,
    stop: &Stop,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let share = || {
        let mut buffer = Vec::new();
        let mut done = Vec::new();
        while !stop.is_set() && !failed.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { break };
            match work(*item, &mut buffer) {
                Ok(result) => done.push((place, result)),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(share)).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut results = Vec::with_capacity(items.len());
    for share in shares {
        match share {
            Ok(share) => results.extend(share?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    results.sort_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let stop = Stop::default();
        let squares = for_each(&items, 3, &stop, |item, _| Ok::<_, ()>(item * item));
        assert_eq!(squares, Ok(items.iter().map(|item| item * item).collect()));
        let error = for_each(&items, 3, &stop, |item, _| if item == 500 { Err(item) } else { Ok(()) });
        assert_eq!(error, Err(500));
    }

    #[test]
    fn nothing_is_begun_after_a_stop() {
        let guard = StopOnDrop::default();
        let stop = guard.0.clone();
        drop(guard);
        assert_eq!(for_each(&[1, 2, 3], 2, &stop, |item, _| Ok::<_, ()>(item)), Ok(vec![]));
    }
}
