//! File or HTTP, chosen at run time.

use super::byte_source::Source;
use super::error::SourceError;
use super::file::FileSource;
use super::http::{HttpOptions, HttpSource};
use super::local_file::LocalFile;
use super::location::Location;
use bytes::Bytes;

/// A file or HTTP, chosen at run time.
pub enum AnySource {
    /// A file or standard input.
    File(FileSource),
    /// HTTP.
    Http(Box<HttpSource>),
}

impl AnySource {
    /// Returns the source at `location`. *Reads* certificates and the file's length, but no byte of
    /// the bundle.
    ///
    /// # Errors
    /// [`SourceError::Setup`] for a URL or options that are not valid.
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

    fn fork(&self) -> Option<Self> {
        match self {
            Self::File(_) => None,
            Self::Http(source) => source.fork().map(|fork| Self::Http(Box::new(fork))),
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
