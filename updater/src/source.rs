//! The source seam: where the bytes of a bundle come from.
//!
//! A source is opened at an offset and then read piece by piece. That is all that the updater asks
//! of it; going on after an error, skipping and limits are the [`crate::fetch`] module's work, the
//! same for all.

mod file;
mod http;
mod limit;
mod memory;
mod patience;
mod redacted;

pub use file::{FileSource, LocalFile};
pub use http::{HttpOptions, HttpSource};
pub use limit::Rate;
pub use memory::{Fault, MemorySource};
pub use patience::{Impatient, Patience};
pub use redacted::redacted;

use bytes::Bytes;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where a bundle comes from, as written on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// Standard input, written `-`.
    Stdin,
    /// A URL with the scheme http or https.
    Http(String),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("://") {
            _ if text == "-" => Ok(Self::Stdin),
            // A scheme may be written in capitals (RFC 3986, 3.1).
            Some((scheme, _)) if is_http(scheme) => Ok(Self::Http(text.to_owned())),
            Some((scheme, _)) => Err(format!(
                "scheme {scheme}: expected a file, -, http:// or https://"
            )),
            None if text.is_empty() => Err("expected a file, -, http:// or https://".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// As it may be shown: a URL without user information and query.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Http(url) => f.write_str(&redacted(url)),
        }
    }
}

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

/// Something that a bundle can be read from.
pub trait Source: Send {
    /// Whether [`Source::open`] may be called again, at any offset, at the cost of a request.
    fn can_seek(&self) -> bool;

    /// Whether [`Source::open`] may be called again at all, even if all that lies before the offset
    /// is sent anew.
    fn can_reopen(&self) -> bool {
        self.can_seek()
    }

    /// Whether reading everything twice costs next to nothing: a file of this machine.
    fn is_local(&self) -> bool {
        false
    }

    /// The file of this machine that it is, once it was opened: threads can read what they need of
    /// it by themselves.
    fn local_file(&mut self) -> impl Future<Output = Option<LocalFile>> + Send {
        async { None }
    }

    /// Length of the whole, where it is known.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Returns a doubt that only matters if the signed bytes turn out wrong: the server's headers
    /// changed between answers, or name a content coding. Bytes decide; a doubt explains.
    fn doubt(&self) -> Option<SourceError> {
        None
    }

    /// Says that what is opened next will not be read beyond `end`. A source that can make use of
    /// it gives no more than that.
    fn until(&mut self, _end: Option<u64>) {}

    /// Makes the next piece begin at `offset`. A source that cannot seek is opened once, at 0.
    ///
    /// # Errors
    /// [`SourceError`].
    fn open(&mut self, offset: u64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The next piece, never empty; `None` at the end. A piece is at most a few hundred KiB long.
    ///
    /// # Errors
    /// [`SourceError`]; afterwards only [`Source::open`] may be called.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}

/// A source chosen at run time.
pub enum AnySource {
    /// A file or standard input.
    File(FileSource),
    /// HTTP.
    Http(Box<HttpSource>),
}

impl AnySource {
    /// The source at `location`. *Reads* nothing yet.
    ///
    /// # Errors
    /// [`SourceError::Setup`] for a URL or options that make no sense.
    pub fn new(location: &Location, options: HttpOptions) -> Result<Self, SourceError> {
        Ok(match location {
            Location::File(path) => Self::File(FileSource::path(path)),
            Location::Stdin => Self::File(FileSource::stdin()),
            Location::Http(url) => Self::Http(Box::new(HttpSource::new(url, options)?)),
        })
    }
}

impl Source for AnySource {
    fn can_seek(&self) -> bool {
        match self {
            Self::File(source) => source.can_seek(),
            Self::Http(source) => source.can_seek(),
        }
    }

    fn can_reopen(&self) -> bool {
        match self {
            Self::File(source) => source.can_reopen(),
            Self::Http(source) => source.can_reopen(),
        }
    }

    fn is_local(&self) -> bool {
        matches!(self, Self::File(source) if source.is_local())
    }

    async fn local_file(&mut self) -> Option<LocalFile> {
        match self {
            Self::File(source) => source.local_file().await,
            Self::Http(_) => None,
        }
    }

    fn total(&self) -> Option<u64> {
        match self {
            Self::File(source) => source.total(),
            Self::Http(source) => source.total(),
        }
    }

    fn doubt(&self) -> Option<SourceError> {
        match self {
            Self::File(_) => None,
            Self::Http(source) => source.doubt(),
        }
    }

    fn until(&mut self, end: Option<u64>) {
        match self {
            Self::File(source) => source.until(end),
            Self::Http(source) => source.until(end),
        }
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        match self {
            Self::File(source) => source.open(offset).await,
            Self::Http(source) => source.open(offset).await,
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::File(source) => source.piece().await,
            Self::Http(source) => source.piece().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        assert_eq!("-".parse(), Ok(Location::Stdin));
        assert_eq!(
            "a/b.bundle".parse(),
            Ok(Location::File("a/b.bundle".into()))
        );
        assert_eq!(
            "https://x/y".parse(),
            Ok(Location::Http("https://x/y".into()))
        );
        assert_eq!(
            "HTTPS://x/y".parse(),
            Ok(Location::Http("HTTPS://x/y".into()))
        );
        assert_eq!(
            "ftp://x".parse::<Location>(),
            Err("scheme ftp: expected a file, -, http:// or https://".to_owned())
        );
    }
}
