//! Byte ranges of a source in rising order, whatever the source and the network do.

mod spans;

use super::byte_source::Source;
use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::{Bytes, BytesMut};
use spans::Spans;
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Maximum gap between two ranges, in bytes, that is fetched and dropped, because a new request
/// costs more. With 12 KiB an adaptive download of a bundle of 300 MB fetches 69.6 MB in 728
/// requests; with 16 KiB 70.8 MB in 642; with 8 KiB 1 MB less in about 900
/// (docs/decisions/0201-apply.md).
const MAX_GAP: u64 = 12 * 1024;
/// Bytes after which the retry counter restarts. A smaller value lets a server that returns one
/// byte per request reset the counter forever.
const RETRY_RESET: u64 = 16 * 1024;
/// Minimum length of a request while the needed ranges are not announced. Each further request
/// doubles what was read, so that no more is requested for nothing than was read.
const MIN_REQUEST: u64 = 256 * 1024;
/// Maximum pause that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Default pause before the first retry.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pause before a retry, unless the server asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(30);

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
    #[error("download: {fetched} bytes in {} s, and not complete: the deadline", deadline.as_secs())]
    Deadline {
        /// Bytes that arrived.
        fetched: u64,
        /// Maximum time of the download.
        deadline: Duration,
    },
    /// There are bytes after the end of the bundle.
    #[error("there is data after the {expected} bytes of the bundle")]
    Trailing {
        /// Length of the bundle.
        expected: u64,
    },
}

/// Receives each failure that is retried, and the pause before the retry.
pub type OnRetry<'a> = &'a (dyn Fn(&SourceError, Duration) + Send + Sync);

/// A position in a source, for [`Fetcher::rewind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    at: u64,
    fetched: u64,
}

/// Fetches ranges of a source in rising order. Memory is bounded by one range and one piece.
pub struct Fetcher<'a, S> {
    source: S,
    retries: Retries,
    on_retry: OnRetry<'a>,
    /// Offset in the bundle of the first byte of `buffered`, or of the next piece if that is empty.
    at: u64,
    buffered: Bytes,
    is_open: bool,
    spans: Spans,
    /// End of the current request, if it has one.
    request_end: Option<u64>,
    fetched: u64,
    failures: u32,
    /// Value of `fetched` at the last failure.
    fetched_at_failure: u64,
    /// The end of the time for the download; set by the first request.
    ends: Option<Instant>,
}

impl<'a, S: Source> Fetcher<'a, S> {
    /// Returns a fetcher at the beginning of `source`.
    pub fn new(source: S, retries: Retries, on_retry: OnRetry<'a>) -> Self {
        Self {
            source,
            retries,
            on_retry,
            at: 0,
            buffered: Bytes::new(),
            is_open: false,
            spans: Spans::default(),
            request_end: None,
            fetched: 0,
            failures: 0,
            fetched_at_failure: 0,
            ends: None,
        }
    }

    /// Announces the ranges that will be fetched, in rising order. Requests then ask for no more
    /// than these and small gaps between them, which lets connections be reused. Other ranges may
    /// be fetched, too.
    pub fn expect(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        self.spans = Spans::new(ranges, MAX_GAP);
        if self.requests_have_ends() {
            // The open request may ask for more than that.
            self.is_open = false;
        }
    }

    /// Returns whether the length of a request matters.
    fn requests_have_ends(&self) -> bool {
        self.source.can_seek() && !self.source.is_local()
    }

    /// Checks that the source has exactly the `len` bytes of the bundle, if it reports its length.
    ///
    /// # Errors
    /// [`FetchError::Short`], [`FetchError::Trailing`].
    pub fn check_total(&self, len: u64) -> Result<(), FetchError> {
        match self.source.total() {
            Some(got) if got < len => Err(FetchError::Short { got, expected: len }),
            Some(got) if got > len => Err(FetchError::Trailing { expected: len }),
            _ => Ok(()),
        }
    }

    /// Returns the number of bytes taken from the source so far: of a network all that arrived,
    /// dropped gaps included; of a local file only the requested bytes.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        let ahead = if self.source.is_local() {
            self.buffered.len() as u64
        } else {
            0
        };
        self.fetched - ahead
    }

    /// Returns the value of [`Fetcher::fetched`] after `ranges`, in rising order, of a bundle of
    /// `len` bytes, if nothing fails. *Pure.*
    #[must_use]
    pub fn will_fetch(&self, ranges: Vec<Range<u64>>, len: u64) -> u64 {
        if !self.can_skip() {
            return len;
        }
        let max_gap = if self.requests_have_ends() {
            MAX_GAP
        } else {
            0
        };
        self.fetched() + Spans::new(ranges, max_gap).total()
    }

    fn drop_buffered(&mut self) {
        self.fetched = self.fetched();
        self.buffered = Bytes::new();
    }

    /// Returns whether the bytes between ranges can be skipped without fetching them.
    #[must_use]
    pub fn can_skip(&self) -> bool {
        self.source.can_seek()
    }

    /// Returns whether the source can be read again from an earlier offset.
    #[must_use]
    pub fn can_reread(&self) -> bool {
        self.source.can_reopen()
    }

    /// Returns whether the source is a file of this machine, which is cheap to read twice.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.source.is_local()
    }

    /// Returns what may explain wrong bytes ([`Source::doubt`]).
    #[must_use]
    pub fn doubt(&self) -> Option<SourceError> {
        self.source.doubt()
    }

    /// Returns the current position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            at: self.at,
            fetched: self.fetched(),
        }
    }

    /// Returns to `position`, in a source that can seek, and forgets the bytes fetched since.
    pub fn rewind(&mut self, position: &Position) {
        self.at = position.at;
        self.fetched = position.fetched;
        self.buffered = Bytes::new();
        self.is_open = false;
    }

    /// Returns to `offset`, in a source that can seek. Bytes fetched so far stay counted.
    pub fn seek_back(&mut self, offset: u64) {
        self.at = offset;
        self.drop_buffered();
        self.is_open = false;
    }

    /// Returns the local file that holds the bundle, for threads that read it by themselves; `None`
    /// for any other source.
    pub async fn local_file(&mut self) -> Option<LocalFile> {
        self.source.local_file().await
    }

    /// Returns the next piece of the bundle, of any length; `None` at the end. For the head, whose
    /// length is unknown until it is read. *Reads.*
    ///
    /// # Errors
    /// [`FetchError::Source`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        if self.buffered.is_empty() {
            match self.next_piece().await? {
                Some(piece) => self.buffered = piece,
                None => return Ok(None),
            }
        }
        let piece = std::mem::take(&mut self.buffered);
        self.at += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Puts back the end of the piece that was returned last.
    pub fn put_back(&mut self, rest: Bytes) {
        self.at -= rest.len() as u64;
        self.buffered = rest;
    }

    /// Returns the `len` bytes at `offset`, which must not be before the end of the last range.
    /// *Reads.*
    ///
    /// # Errors
    /// [`FetchError`]. Transient failures are retried by requests that continue at the missing
    /// byte.
    pub async fn range(&mut self, offset: u64, len: usize) -> Result<Bytes, FetchError> {
        let end = offset + len as u64;
        self.skip_to(offset).await?;
        if self.buffered.len() >= len {
            self.at += len as u64;
            return Ok(self.buffered.split_to(len));
        }
        let mut range = BytesMut::with_capacity(len);
        while range.len() < len {
            if self.buffered.is_empty() {
                self.buffered = self.expected_piece(end).await?;
            }
            let taken = self.buffered.len().min(len - range.len());
            self.at += taken as u64;
            range.extend_from_slice(&self.buffered.split_to(taken));
        }
        Ok(range.freeze())
    }

    /// Checks that the source ends at `len`, and returns [`Fetcher::fetched`]. *Reads* only from a
    /// source that is read front to back and does not report its length: of any other, no byte
    /// beyond the bundle was read.
    ///
    /// # Errors
    /// [`FetchError::Trailing`].
    pub async fn finish(mut self, len: u64) -> Result<u64, FetchError> {
        self.check_total(len)?;
        let is_open_ended = self.source.total().is_none() && self.request_end.is_none();
        if self.at == len && self.is_open && is_open_ended {
            // All bytes are there: a connection that fails now does no harm.
            if !self.buffered.is_empty() || matches!(self.source.piece().await, Ok(Some(_))) {
                return Err(FetchError::Trailing { expected: len });
            }
        }
        Ok(self.fetched())
    }

    async fn skip_to(&mut self, offset: u64) -> Result<(), FetchError> {
        let gap = offset.saturating_sub(self.at);
        let buffered = self.buffered.len() as u64;
        // A request that is necessary anyway need not begin with the gap.
        let is_worth_a_request = !self.is_open || gap.saturating_sub(buffered) > MAX_GAP;
        if gap > buffered && is_worth_a_request && self.source.can_seek() {
            self.drop_buffered();
            self.is_open = false;
            self.at = offset;
            return Ok(());
        }
        while self.at < offset {
            if self.buffered.is_empty() {
                self.buffered = self.expected_piece(offset).await?;
            }
            let skipped = (offset - self.at).min(self.buffered.len() as u64);
            drop(self.buffered.split_to(skipped as usize));
            self.at += skipped;
        }
        Ok(())
    }

    /// Returns a piece that begins at `at`, where the signed length says that there are bytes up to
    /// `expected`. A response without a length that was cut looks like the end of the file: it is
    /// retried like any other transient failure.
    async fn expected_piece(&mut self, expected: u64) -> Result<Bytes, FetchError> {
        loop {
            if let Some(piece) = self.next_piece().await? {
                return Ok(piece);
            }
            let got = self.at;
            let short = FetchError::Short { got, expected };
            if self.source.total().is_some() || !self.source.can_reopen() {
                return Err(short);
            }
            let cut = SourceError::Network {
                what: "an answer without a length".to_owned(),
                message: format!("answer ended at byte {got}, expected {expected}"),
            };
            let pause = self.count_failure(cut).map_err(|_| short)?;
            self.pause(pause).await?;
        }
    }

    /// Returns a piece that begins at `at`, with as many requests as that takes.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let ends = self.ends();
            let piece = timeout_at(ends, self.try_piece()).await;
            match piece.map_err(|_| self.too_late())? {
                Ok(None) if self.request_end.is_some_and(|end| self.at >= end) => {
                    self.is_open = false;
                }
                Ok(piece) => {
                    self.fetched += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(error) => {
                    let pause = self.count_failure(error)?;
                    self.pause(pause).await?;
                }
            }
        }
    }

    /// Returns the end of the time for the download. A file of this machine has no limit that
    /// matters.
    fn ends(&mut self) -> Instant {
        let limit = self.retries.deadline;
        *self.ends.get_or_insert_with(|| Instant::now() + limit)
    }

    fn too_late(&self) -> FetchError {
        FetchError::Deadline {
            fetched: self.fetched,
            deadline: self.retries.deadline,
        }
    }

    /// Waits before a retry.
    ///
    /// # Errors
    /// [`FetchError::Deadline`], without waiting, if the pause would end after it.
    async fn pause(&mut self, pause: Duration) -> Result<(), FetchError> {
        if Instant::now() + pause >= self.ends() {
            return Err(self.too_late());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Counts a failure. Returns the pause before the next request.
    ///
    /// # Errors
    /// `error`, if it is not to be retried.
    fn count_failure(&mut self, error: SourceError) -> Result<Duration, SourceError> {
        self.is_open = false;
        if self.fetched - self.fetched_at_failure >= RETRY_RESET {
            self.failures = 0;
        }
        self.failures += 1;
        self.fetched_at_failure = self.fetched;
        let is_retried = error.is_transient() && self.failures < self.retries.max_failures;
        if !is_retried || (self.at > 0 && !self.source.can_reopen()) {
            return Err(error);
        }
        let asked = error.retry_after().unwrap_or_default();
        let pause = self
            .retries
            .pause(self.failures)
            .max(asked.min(MAX_RETRY_AFTER));
        (self.on_retry)(&error, pause);
        Ok(pause)
    }

    async fn try_piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        if !self.is_open {
            let end = self
                .spans
                .end_at(self.at)
                .unwrap_or(self.at.saturating_add(self.at.max(MIN_REQUEST)));
            self.request_end = self.requests_have_ends().then_some(end);
            self.source.until(self.request_end);
            self.source.open(self.at).await?;
            self.is_open = true;
            if !self.source.can_seek() {
                // The server turned out not to support ranges: it sends the whole file.
                self.request_end = None;
            }
        }
        self.source.piece().await
    }
}

#[cfg(test)]
mod tests;
