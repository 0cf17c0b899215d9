//! A limit on the speed of a download, so that others on the same line are served too.

use std::str::FromStr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Bytes per second: a number, with K, M or G for powers of 1024 (`2M`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// This many bytes per second; `None` for zero, which would never end.
    #[must_use]
    pub const fn new(bytes_per_second: u64) -> Option<Self> {
        if bytes_per_second == 0 {
            None
        } else {
            Some(Self(bytes_per_second))
        }
    }

    /// Bytes per second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("rate {text:?}: expected bytes per second, such as 500K or 2M");
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" => 1,
            "K" | "k" => 1 << 10,
            "M" | "m" => 1 << 20,
            "G" | "g" => 1 << 30,
            _ => return Err(expected()),
        };
        let number: u64 = digits.parse().map_err(|_| expected())?;
        number
            .checked_mul(unit)
            .and_then(Self::new)
            .ok_or_else(expected)
    }
}

/// A token bucket that holds a quarter of a second's worth.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: u64,
    /// When all that was taken so far may have been taken.
    paid_until: Option<Instant>,
}

impl Bucket {
    pub(crate) const fn new(rate: Rate) -> Self {
        Self {
            rate: rate.0,
            paid_until: None,
        }
    }

    /// Waits until `bytes` more may have come.
    pub(crate) async fn take(&mut self, bytes: usize) {
        let now = Instant::now();
        let saved = now.checked_sub(Duration::from_millis(250)).unwrap_or(now);
        let from = self.paid_until.map_or(saved, |paid| paid.max(saved));
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate);
        let until = from + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid_until = Some(until);
        if until > now {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[test]
    fn rates_are_read() {
        let rate = |text: &str| text.parse::<Rate>().map(Rate::bytes_per_second);
        assert_eq!(rate("2M"), Ok(2 << 20));
        assert_eq!(rate("500k"), Ok(500 << 10));
        assert_eq!(rate("1"), Ok(1));
        for bad in [
            "",
            "0",
            "M",
            "-1",
            "1.5M",
            "2T",
            "2MB",
            "99999999999G",
            "2M2",
            "ü",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    /// How long it takes to get `pieces` through a limit, by a clock that only runs while everybody
    /// waits.
    fn took(rate: u64, pieces: &[usize], pause: Duration) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("runtime").block_on(async {
            let began = Instant::now();
            let mut bucket = Bucket::new(Rate(rate));
            for piece in pieces {
                bucket.take(*piece).await;
                sleep(pause).await;
            }
            began.elapsed()
        })
    }

    #[test]
    fn ten_megabytes_at_one_a_second_take_ten_seconds() {
        for piece in [1_000, 16_384, 250_000, 1_000_000] {
            let took =
                took(1_000_000, &vec![piece; 10_000_000 / piece], Duration::ZERO).as_secs_f64();
            assert!((9.6..=10.1).contains(&took), "pieces of {piece}: {took} s");
        }
    }

    #[test]
    fn a_reader_slower_than_the_limit_is_not_held_up_and_saves_up_little() {
        let quick = took(1_000_000, &[1_000; 100], Duration::from_millis(10));
        assert_eq!(quick.as_millis(), 1_000);
        let mut pieces = vec![0; 1];
        pieces.extend([10_000; 100]);
        let after_a_rest = took(1_000_000, &pieces, Duration::ZERO);
        assert!(
            after_a_rest >= Duration::from_millis(740),
            "{after_a_rest:?}"
        );
    }
}
