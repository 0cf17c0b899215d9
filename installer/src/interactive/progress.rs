//! The progress of a write: its phases, and the rate and the time left of the current one.

use std::time::Duration;
use updater::events::Phase;

/// Time after which rate and time left are known.
const MIN_TIME: Duration = Duration::from_millis(500);

/// Progress of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The phases so far; the last one is current.
    pub phases: Vec<Pace>,
    /// The last warning or retry, for people.
    pub warning: Option<String>,
}

/// Progress of a phase. Times are since the start of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The phase.
    pub phase: Phase,
    /// Time and bytes when it was first seen.
    first: (Duration, u64),
    /// Time now.
    now: Duration,
    /// Bytes done.
    pub done: u64,
    /// Total bytes.
    pub total: u64,
}

impl Progress {
    /// Adds what an event of an apply reports at time `now`. *Pure.*
    pub fn add(&mut self, phase: Phase, done: u64, total: u64, now: Duration) {
        match self.phases.iter_mut().find(|pace| pace.phase == phase) {
            Some(pace) => (pace.now, pace.done, pace.total) = (now, done, total),
            None => self.phases.push(Pace {
                phase,
                first: (now, done),
                now,
                done,
                total,
            }),
        }
    }
}

impl Pace {
    /// Returns how much is done, in percent. *Pure.*
    #[must_use]
    pub fn percent(&self) -> u64 {
        let done = u128::from(self.done.min(self.total)) * 100;
        done.checked_div(u128::from(self.total)).unwrap_or(100) as u64
    }

    /// Returns the rate in bytes per second; `None` before it is known. *Pure.*
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let time = self.now.saturating_sub(self.first.0);
        let bytes = u128::from(self.done.saturating_sub(self.first.1)) * 1000;
        let rate = (time >= MIN_TIME).then(|| bytes.checked_div(time.as_millis()))??;
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }

    /// Returns the time left at this rate; `None` before it is known. *Pure.*
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done);
        self.rate()
            .map(|rate| Duration::from_secs(left.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_time_left_come_from_bytes_and_time() {
        let mut progress = Progress::default();
        let second = Duration::from_secs(1);
        progress.add(Phase::Write, 0, 100 << 20, 5 * second);
        assert_eq!(progress.phases[0].left(), None);
        progress.add(Phase::Write, 40 << 20, 100 << 20, 9 * second);
        let pace = &progress.phases[0];
        assert_eq!((pace.rate(), pace.percent()), (Some(10 << 20), 40));
        assert_eq!(pace.left(), Some(6 * second));
        progress.add(Phase::ReadBack, 0, 0, 9 * second);
        assert_eq!(
            (progress.phases[1].percent(), progress.phases[1].rate()),
            (100, None)
        );
    }
}
