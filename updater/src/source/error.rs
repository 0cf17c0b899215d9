//! The errors of sources.

use std::time::Duration;

/// Why a source gave no bytes.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or pipe could not be read.
    #[error("{what}: {error}")]
    Io {
        /// File name, or `standard input`.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The URL or the options for it make no sense.
    #[error("{0}")]
    Setup(String),
    /// The connection failed, was reset, or stood still for too long.
    #[error("{what}: {message}")]
    Network {
        /// URL.
        what: String,
        /// What happened.
        message: String,
    },
    /// The server answered with a status that is not success.
    #[error("{what}: server answered {status}")]
    Status {
        /// URL.
        what: String,
        /// HTTP status.
        status: u16,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server's certificate is not accepted.
    #[error("{what}: {message}")]
    Untrusted {
        /// URL.
        what: String,
        /// Why not.
        message: String,
    },
    /// The server's answer contradicts what was asked for.
    #[error("{what}: server answered with {message}")]
    Answer {
        /// URL.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file on the server is no longer the one that the download began with.
    #[error("{what}: the file changed on the server during the download")]
    Changed {
        /// URL.
        what: String,
    },
    /// The file on the server ends before the byte that was asked for.
    #[error("{what}: the file has {total} bytes, byte {asked} was asked for")]
    Ended {
        /// URL.
        what: String,
        /// Its length.
        total: u64,
        /// The byte.
        asked: u64,
    },
}

impl SourceError {
    /// Whether trying again later may help.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
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

    /// How long the other side asks to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
