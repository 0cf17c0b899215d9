//! The errors of sources.

use std::time::Duration;

/// A source that returned no bytes.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or pipe could not be read.
    #[error("{what}: {error}")]
    Io {
        /// File name, or `standard input`.
        what: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The URL, or an option for it, is not valid.
    #[error("{0}")]
    Setup(String),
    /// The connection failed, was reset, or stalled.
    #[error("{what}: {message}")]
    Network {
        /// URL, redacted.
        what: String,
        /// The cause.
        message: String,
    },
    /// The server answered with a status other than success.
    #[error("{what}: server answered {status}")]
    Status {
        /// URL, redacted.
        what: String,
        /// HTTP status.
        status: u16,
        /// Pause that the server asks for.
        retry_after: Option<Duration>,
    },
    /// The server's certificate is not accepted.
    #[error("{what}: {message}")]
    Untrusted {
        /// URL, redacted.
        what: String,
        /// The cause.
        message: String,
    },
    /// The server's response does not match the request.
    #[error("{what}: server answered with {message}")]
    Answer {
        /// URL, redacted.
        what: String,
        /// The mismatch, in words.
        message: String,
    },
    /// The file on the server was replaced during the download.
    #[error("{what}: the file changed on the server during the download")]
    Changed {
        /// URL, redacted.
        what: String,
    },
    /// The file on the server ends before the requested byte.
    #[error("{what}: the file has {total} bytes, requested byte {asked}")]
    Ended {
        /// URL, redacted.
        what: String,
        /// Length of the file.
        total: u64,
        /// Offset of the requested byte.
        asked: u64,
    },
}

impl SourceError {
    /// Returns whether a new request may succeed. *Pure.*
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Io { .. }
            | Self::Setup(_)
            | Self::Untrusted { .. }
            | Self::Answer { .. }
            | Self::Changed { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Returns the pause that the server asks for. *Pure.*
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
