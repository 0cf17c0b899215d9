//! The errors of a download.

use crate::source::error::SourceError;
use std::time::Duration;

/// A range that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source failed, and retries are useless or used up.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source ended early.
    #[error("bundle ends after {got} bytes, expected {expected}")]
    Short {
        /// Offset of its end.
        got: u64,
        /// Expected offset.
        expected: u64,
    },
    /// The download took too long.
    #[error(
        "download: {fetched} bytes in {} s, and not complete: the deadline",
        deadline.as_secs()
    )]
    Deadline {
        /// Bytes that arrived.
        fetched: u64,
        /// Maximum time of the download.
        deadline: Duration,
    },
    /// The rest of the download would take too long, so it is not begun.
    #[error(
        "download: {bytes} bytes would take {} s, the deadline is in {} s",
        needed.as_secs(),
        left.as_secs()
    )]
    TooSlow {
        /// Bytes that are still to be fetched.
        bytes: u64,
        /// The time that they take, by the rate so far.
        needed: Duration,
        /// The time until the deadline.
        left: Duration,
    },
    /// There are bytes after the end of the bundle.
    #[error("there is data after the {expected} bytes of the bundle")]
    Trailing {
        /// Length of the bundle.
        expected: u64,
    },
}
