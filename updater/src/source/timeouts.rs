//! How long a server is waited for. Only time spent waiting counts: a slow disk or a limit that was
//! asked for is not the server's fault.

use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a server is waited for. There is no limit on the whole time: a large bundle over a thin
/// line takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Longest time until a connection stands.
    pub connect: Duration,
    /// Longest time from a request to the end of the answer's head, redirects included: stops a
    /// server that drips header lines.
    pub answer: Duration,
    /// Longest time without a byte.
    pub stall: Duration,
    /// Fewest bytes per second, on the average of a window: stops a server that drips its body.
    pub slowest: u64,
    /// The window: this much time of waiting.
    pub window: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            slowest: 1024,
            window: Duration::from_secs(30),
        }
    }
}

/// Why the waiting was ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impatient {
    /// Not a byte came.
    #[error("no data for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// Too few came.
    #[error("{got} bytes/s over {} s, expected at least {slowest} bytes/s", window.as_secs_f32())]
    Slow {
        /// Bytes per second that came.
        got: u64,
        /// Bytes per second that should have.
        slowest: u64,
        /// Over this time.
        window: Duration,
    },
}

/// Watches one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    patience: Patience,
    waited: Duration,
    bytes: u64,
}

impl Watch {
    pub(crate) const fn new(patience: Patience) -> Self {
        Self {
            patience,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Counts time that was waited for something else than a piece: the head of an answer.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Waits for the next piece of a transfer; `len` tells how many bytes it has.
    pub(crate) async fn piece<T>(
        &mut self,
        next: impl Future<Output = T>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, Impatient> {
        let Patience {
            stall,
            slowest,
            window,
            ..
        } = self.patience;
        let began = Instant::now();
        let piece = timeout(stall, next)
            .await
            .map_err(|_| Impatient::Stalled(stall))?;
        self.waited += began.elapsed();
        self.bytes += len(&piece) as u64;
        if self.waited >= window {
            let got = (u128::from(self.bytes) * 1000 / self.waited.as_millis().max(1)) as u64;
            if got < slowest {
                return Err(Impatient::Slow {
                    got,
                    slowest,
                    window: self.waited,
                });
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    /// `count` pieces of `len` bytes, one every `pause`, by a clock that only runs while everybody
    /// waits.
    fn watch(count: usize, len: usize, pause: Duration) -> (Duration, Result<(), Impatient>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let began = Instant::now();
            let mut watch = Watch::new(Patience::default());
            for _ in 0..count {
                if let Err(impatient) = watch.piece(sleep(pause), |()| len).await {
                    return (began.elapsed(), Err(impatient));
                }
            }
            (began.elapsed(), Ok(()))
        })
    }

    #[test]
    fn a_stall_ends_it() {
        let (took, end) = watch(1, 0, Duration::from_secs(3600));
        assert_eq!(end.expect_err("stalled").to_string(), "no data for 30 s");
        assert_eq!(took, Duration::from_secs(30));
    }

    #[test]
    fn one_byte_a_second_ends_it_within_a_window() {
        let (took, end) = watch(1000, 1, Duration::from_secs(1));
        let words = end.expect_err("slow").to_string();
        assert_eq!(words, "1 bytes/s over 30 s, expected at least 1024 bytes/s");
        assert_eq!(took, Duration::from_secs(30));
    }

    #[test]
    fn bursts_with_rests_between_them_are_no_drip() {
        let (took, end) = watch(100, 25 * 1024, Duration::from_secs(25));
        assert_eq!(end, Ok(()));
        assert_eq!(took, Duration::from_secs(2500));
    }

    #[test]
    fn time_that_the_reader_takes_does_not_count() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let mut watch = Watch::new(Patience::default());
            for _ in 0..100 {
                watch
                    .piece(std::future::ready(1), |len| *len)
                    .await
                    .expect("quick server");
                sleep(Duration::from_secs(100)).await;
            }
        });
    }
}
