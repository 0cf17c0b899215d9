//! A limit on the speed of a download, which leaves room for others on the same line.

use cli::quantity::Size;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Bytes per second, written as a [`Size`]: `500K`, `2M`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// Returns this many bytes per second; `None` for zero, which would never end.
    #[must_use]
    pub const fn new(bytes_per_second: u64) -> Option<Self> {
        if bytes_per_second == 0 {
            None
        } else {
            Some(Self(bytes_per_second))
        }
    }

    /// Returns the bytes per second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Size(bytes) = text.parse()?;
        Self::new(bytes).ok_or_else(|| "a rate of 0 bytes/s would never end".to_owned())
    }
}

/// A token bucket that holds the bytes of a quarter of a second. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    rate: u64,
    /// The time at which the rate allows all bytes taken so far.
    paid_until: Arc<Mutex<Option<Instant>>>,
}

impl TokenBucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate: rate.0,
            paid_until: Arc::default(),
        }
    }

    /// Waits until the rate allows `bytes` more.
    pub(crate) async fn take(&self, bytes: usize) {
        sleep_until(self.pay(bytes)).await;
    }

    /// Takes `bytes`, and returns the time at which the rate allows them.
    fn pay(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let saved = now.checked_sub(Duration::from_millis(250)).unwrap_or(now);
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate);
        let mut paid = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let from = paid.map_or(saved, |paid| paid.max(saved));
        let until = from + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        *paid = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[test]
    fn a_rate_is_a_size_other_than_zero() {
        let rate = |text: &str| text.parse::<Rate>().map(Rate::bytes_per_second);
        assert_eq!(rate("2M"), Ok(2 << 20));
        assert_eq!(rate("500k"), Ok(500 << 10));
        assert_eq!(rate("1"), Ok(1));
        for refused in ["", "0", "M", "-1", "1.5M", "2X", "99999999999G", "2M2", "ü"] {
            assert!(rate(refused).is_err(), "{refused}");
        }
    }

    /// Returns the simulated time that `pieces` take through a limit.
    fn took(rate: u64, pieces: &[usize], pause: Duration) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let start = Instant::now();
            let bucket = TokenBucket::new(Rate(rate));
            for piece in pieces {
                bucket.take(*piece).await;
                sleep(pause).await;
            }
            start.elapsed()
        })
    }

    #[test]
    fn ten_megabytes_at_one_megabyte_per_second_take_ten_seconds() {
        for piece in [1_000, 16_384, 250_000, 1_000_000] {
            let pieces = vec![piece; 10_000_000 / piece];
            let took = took(1_000_000, &pieces, Duration::ZERO).as_secs_f64();
            assert!((9.6..=10.1).contains(&took), "pieces of {piece}: {took} s");
        }
    }

    #[test]
    fn a_reader_slower_than_the_limit_is_not_delayed_and_saves_little() {
        let slow_reader = took(1_000_000, &[1_000; 100], Duration::from_millis(10));
        assert_eq!(slow_reader.as_millis(), 1_000);
        let mut pieces = vec![0; 1];
        pieces.extend([10_000; 100]);
        let after_idling = took(1_000_000, &pieces, Duration::ZERO);
        assert!(
            after_idling >= Duration::from_millis(740),
            "{after_idling:?}"
        );
    }
}
