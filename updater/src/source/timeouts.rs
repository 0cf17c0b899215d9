//! Timeouts for a server. Only time spent waiting for it counts: a slow disk or a rate limit is not
//! the server's fault.

use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Limits of waiting for a server. The total time has no limit, because a large bundle over a slow
/// line takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Maximum time to establish a connection.
    pub connect: Duration,
    /// Maximum time from a request to the end of the response's head, redirects included. Stops a
    /// server that sends header lines forever.
    pub response: Duration,
    /// Maximum time without a byte.
    pub stall: Duration,
    /// Minimum of the average over a window, in bytes per second. Stops a server that sends its
    /// body byte by byte.
    pub min_rate: u64,
    /// Length of that window, in time spent waiting.
    pub window: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            response: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            min_rate: 1024,
            window: Duration::from_secs(30),
        }
    }
}

/// A server that was waited for too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeoutError {
    /// No byte arrived.
    #[error("no data for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// Too few bytes arrived.
    #[error("{got} bytes/s over {} s, expected at least {min_rate} bytes/s", window.as_secs_f32())]
    TooSlow {
        /// Bytes per second that arrived.
        got: u64,
        /// Minimum, in bytes per second.
        min_rate: u64,
        /// Time spent waiting for them.
        window: Duration,
    },
}

/// Checks one transfer against the [`Timeouts`].
#[derive(Clone, Debug)]
pub(crate) struct TransferMonitor {
    timeouts: Timeouts,
    waited: Duration,
    bytes: u64,
}

impl TransferMonitor {
    pub(crate) const fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Adds time spent waiting for the head of a response.
    pub(crate) fn add_wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Waits for the next piece of a transfer, whose length `len` returns.
    ///
    /// # Errors
    /// [`TimeoutError`].
    pub(crate) async fn wait_for<T>(
        &mut self,
        next: impl Future<Output = T>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, TimeoutError> {
        let stall = self.timeouts.stall;
        let start = Instant::now();
        let piece = timeout(stall, next)
            .await
            .map_err(|_| TimeoutError::Stalled(stall))?;
        self.waited += start.elapsed();
        self.bytes += len(&piece) as u64;
        if self.waited >= self.timeouts.window {
            self.end_window()?;
        }
        Ok(piece)
    }

    fn end_window(&mut self) -> Result<(), TimeoutError> {
        let min_rate = self.timeouts.min_rate;
        let window = std::mem::take(&mut self.waited);
        let bytes = std::mem::take(&mut self.bytes);
        let got = (u128::from(bytes) * 1000 / window.as_millis().max(1)) as u64;
        if got < min_rate {
            return Err(TimeoutError::TooSlow {
                got,
                min_rate,
                window,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    /// Receives `count` pieces of `len` bytes, one every `pause`, in simulated time.
    fn transfer(count: usize, len: usize, pause: Duration) -> (Duration, Result<(), TimeoutError>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let start = Instant::now();
            let mut monitor = TransferMonitor::new(Timeouts::default());
            for _ in 0..count {
                if let Err(error) = monitor.wait_for(sleep(pause), |()| len).await {
                    return (start.elapsed(), Err(error));
                }
            }
            (start.elapsed(), Ok(()))
        })
    }

    #[test]
    fn a_stall_ends_the_transfer() {
        let (took, result) = transfer(1, 0, Duration::from_secs(3600));
        assert_eq!(result.expect_err("stalled").to_string(), "no data for 30 s");
        assert_eq!(took, Duration::from_secs(30));
    }

    #[test]
    fn one_byte_per_second_ends_the_transfer_within_a_window() {
        let (took, result) = transfer(1000, 1, Duration::from_secs(1));
        assert_eq!(
            result.expect_err("slow").to_string(),
            "1 bytes/s over 30 s, expected at least 1024 bytes/s"
        );
        assert_eq!(took, Duration::from_secs(30));
    }

    #[test]
    fn bursts_with_pauses_between_them_are_accepted() {
        let (took, result) = transfer(100, 25 * 1024, Duration::from_secs(25));
        assert_eq!(result, Ok(()));
        assert_eq!(took, Duration::from_secs(2500));
    }

    #[test]
    fn time_that_the_reader_takes_does_not_count() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let mut monitor = TransferMonitor::new(Timeouts::default());
            for _ in 0..100 {
                monitor
                    .wait_for(std::future::ready(1), |len| *len)
                    .await
                    .expect("quick server");
                sleep(Duration::from_secs(100)).await;
            }
        });
    }
}
