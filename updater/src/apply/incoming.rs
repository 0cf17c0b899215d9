//! A bundle whose head has been read and verified.

use crate::error::ApplyError;
use crate::source::{Fetcher, OnRetry, Retries, Source};
use bundle::{HeadParser, Release};
use seal::{Purpose, Trust};
use std::sync::Arc;

/// The whole bundle, not opened before it is needed.
pub(crate) type Unopened<'a, S> = Option<(S, OnRetry<'a>)>;

/// A bundle of which seal, manifest and index have been read and found acceptable. Nothing was
/// written yet.
pub struct Incoming<'a, S> {
    pub(crate) fetcher: Fetcher<'a, S>,
    pub(crate) release: Arc<Release>,
    pub(crate) full: Unopened<'a, S>,
}

impl<'a, S: Source> Incoming<'a, S> {
    /// Reads and verifies the head of the bundle that comes from `source`. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Bundle`], [`ApplyError::Fetch`].
    pub async fn open(
        source: S,
        trust: &Trust,
        retries: Retries,
        on_retry: OnRetry<'a>,
    ) -> Result<Self, ApplyError> {
        let mut fetcher = Fetcher::new(source, retries, on_retry);
        let release = read_head(&mut fetcher, trust).await?;
        let total = fetcher.check_total(release.statement().bundle_len);
        total.map_err(|error| ApplyError::from(error).explained_by(fetcher.doubt()))?;
        Ok(Self {
            fetcher,
            release,
            full: None,
        })
    }

    /// Names the whole bundle of the release that a delta bundle leads to. It is not even opened
    /// unless the base turns out to be damaged; then the chunks that cannot be made are taken from
    /// it.
    #[must_use]
    pub fn with_full(self, source: S, on_retry: OnRetry<'a>) -> Self {
        Self {
            full: Some((source, on_retry)),
            ..self
        }
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }
}

/// Reads and verifies seal, manifest and index, and leaves the source where the payload begins.
async fn read_head<S: Source>(
    fetcher: &mut Fetcher<'_, S>,
    trust: &Trust,
) -> Result<Arc<Release>, ApplyError> {
    let mut parser = HeadParser::new(trust, Purpose::Release);
    while let Some(piece) = fetcher.piece().await? {
        let taken = parser
            .feed(&piece)
            .map_err(|error| ApplyError::from(error).explained_by(fetcher.doubt()))?;
        if let Some(release) = parser.release() {
            fetcher.put_back(piece.slice(taken..));
            return Ok(Arc::clone(release));
        }
    }
    Err(parser.truncated().into())
}
