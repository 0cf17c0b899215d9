//! A bundle whose head has been read and verified.

use crate::error::ApplyError;
use crate::source::{Fetcher, OnRetry, Retries, Source};
use bundle::{HeadParser, Release};
use seal::{Purpose, TrustChain};
use std::sync::Arc;

/// A full bundle that is opened only if it is needed.
pub(crate) struct LazyBundle<'a, S> {
    pub(crate) source: S,
    pub(crate) on_retry: OnRetry<'a>,
}

/// A bundle whose seal, manifest and index are verified. Nothing was written yet.
pub struct Incoming<'a, S> {
    pub(crate) fetcher: Fetcher<'a, S>,
    pub(crate) release: Arc<Release>,
    pub(crate) full: Option<LazyBundle<'a, S>>,
}

impl<'a, S: Source> Incoming<'a, S> {
    /// Reads and verifies the head of the bundle at `source`. *Reads.* `trust` may follow the trust
    /// links in the bundle.
    ///
    /// # Errors
    /// [`ApplyError::Bundle`], [`ApplyError::Fetch`].
    pub async fn open(
        source: S,
        trust: impl Into<TrustChain>,
        retries: Retries,
        on_retry: OnRetry<'a>,
    ) -> Result<Self, ApplyError> {
        let mut fetcher = Fetcher::new(source, retries, on_retry);
        let release = read_head(&mut fetcher, trust.into())
            .await
            .map_err(|error| error.explained_by(fetcher.doubt()))?;
        Ok(Self {
            fetcher,
            release,
            full: None,
        })
    }

    /// Adds the full bundle of the same release to a delta bundle. It is opened only if the base
    /// turns out to be damaged; then the chunks that cannot be decoded are taken from it.
    #[must_use]
    pub fn with_full(self, source: S, on_retry: OnRetry<'a>) -> Self {
        Self {
            full: Some(LazyBundle { source, on_retry }),
            ..self
        }
    }

    /// Returns the release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }
}

/// Reads and verifies seal, manifest and index, and leaves the source at the payload.
async fn read_head<S: Source>(
    fetcher: &mut Fetcher<'_, S>,
    trust: TrustChain,
) -> Result<Arc<Release>, ApplyError> {
    let mut parser = HeadParser::following(trust, Purpose::Release);
    while let Some(piece) = fetcher.piece().await? {
        let taken = parser.feed(&piece)?;
        if let Some(release) = parser.release() {
            fetcher.put_back(piece.slice(taken..));
            fetcher.check_total(release.statement().bundle_len)?;
            return Ok(Arc::clone(release));
        }
    }
    Err(parser.truncated().into())
}
