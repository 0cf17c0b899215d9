//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970-01-01 by this machine's clock, 0 if it is set to an earlier time.
///
/// *Reads.* The clock may be wrong; no decision about trust depends on it.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
