//! The limits of a download.

use std::time::Duration;

/// Bytes after which the retry counter restarts. A smaller value lets a server that returns one
/// byte per request reset the counter forever.
pub(super) const RETRY_RESET: u64 = 16 * 1024;
/// Maximum pause that a server may ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Default pause before the first retry.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pause before a retry, unless the server asks for more.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Default limit of a whole download. A server that is slow, or that fails again and again after a
/// little progress, would otherwise keep the target slot empty for weeks.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// The limits of a download: retries after a transient failure, and the time of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Consecutive failures, with less than 16 KiB between them, at which the download fails.
    pub max_failures: u32,
    /// Seed of the jitter, so that the machines of a fleet do not retry at the same time.
    pub seed: u64,
    /// Pause before the first retry; it doubles with each consecutive failure, up to 30 s.
    pub first_pause: Duration,
    /// Maximum time from the first request to the last byte, pauses included.
    pub deadline: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max_failures: 8,
            seed: 0,
            first_pause: FIRST_PAUSE,
            deadline: DEADLINE,
        }
    }
}

impl Retries {
    /// Returns the pause before retry number `failures` (from 1). *Pure.* It is between half and
    /// the whole of the first pause, then of twice, four times ... the first pause, up to 30 s.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(MAX_PAUSE);
        // SplitMix64's finaliser: spreads neighbouring seeds and counts over the whole range.
        let mut mixed = self
            .seed
            .wrapping_add(u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((mixed >> 32) as u32) % 1000;
        whole / 2 + whole * share / 2000
    }
}
