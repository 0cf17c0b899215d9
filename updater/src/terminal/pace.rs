//! How fast something goes, and how long it will take, for a line of text.

use std::fmt;
use std::time::Duration;

/// What is said after the name of a phase; nothing before there is anything to go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes done.
    pub(super) done: u64,
    /// Bytes in all.
    pub(super) total: u64,
    /// Since the phase began.
    pub(super) elapsed: Duration,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: f64| bytes / (1024.0 * 1024.0);
        let (done, total) = (self.done as f64, self.total as f64);
        write!(f, ", {:.1} of {:.1} MiB", mebibytes(done), mebibytes(total))?;
        let seconds = self.elapsed.as_secs_f64();
        if seconds < 0.1 || self.done == 0 {
            return Ok(());
        }
        let speed = done / seconds;
        write!(f, ", {:.1} MiB/s", mebibytes(speed))?;
        let left = ((total - done) / speed).ceil() as u64;
        match (left / 3600, left / 60 % 60, left % 60) {
            (0, 0, 0) => Ok(()),
            (0, 0, second) => write!(f, ", {second} s left"),
            (0, minute, second) => write!(f, ", {minute} min {second} s left"),
            (hour, minute, _) => write!(f, ", {hour} h {minute} min left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_and_time_left() {
        let words = |done: u64, total: u64, ms| {
            Pace {
                done: done << 20,
                total: total << 20,
                elapsed: Duration::from_millis(ms),
            }
            .to_string()
        };
        assert_eq!(words(0, 40, 0), ", 0.0 of 40.0 MiB");
        assert_eq!(words(0, 40, 9_000), ", 0.0 of 40.0 MiB");
        assert_eq!(
            words(10, 40, 5_000),
            ", 10.0 of 40.0 MiB, 2.0 MiB/s, 15 s left"
        );
        assert_eq!(
            words(1, 100, 1_000),
            ", 1.0 of 100.0 MiB, 1.0 MiB/s, 1 min 39 s left"
        );
        assert_eq!(
            words(1, 10_000, 1_000),
            ", 1.0 of 10000.0 MiB, 1.0 MiB/s, 2 h 46 min left"
        );
        assert_eq!(words(40, 40, 8_000), ", 40.0 of 40.0 MiB, 5.0 MiB/s");
    }
}
