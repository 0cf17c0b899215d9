//! Byte ranges of a source in rising order, whatever the source and the network do.
//!
//! | module | holds |
//! | --- | --- |
//! | `retries` | the limits of a download |
//! | `error` | its errors |
//! | `spans` | ranges, and the small gaps between them that are fetched, too |
//! | `line` | latency and rate so far, and the requests that are the fastest |
//! | `lanes` | requests in flight beside each other |
//! | `transfer` | the next piece, by one request or by several in flight |

mod error;
mod lanes;
mod line;
mod retries;
mod spans;
mod transfer;

pub use error::FetchError;
pub use retries::Retries;

use super::byte_source::Source;
use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::{Bytes, BytesMut};
use retries::{MAX_RETRY_AFTER, RETRY_RESET};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use transfer::Transfer;

/// Receives each failure that is retried, and the pause before the retry.
pub type OnRetry<'a> = &'a (dyn Fn(&SourceError, Duration) + Send + Sync);

/// A position in a source, for [`Fetcher::rewind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    at: u64,
    fetched: u64,
}

/// What a download takes, or took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Download {
    /// Bytes taken from the source: of a network all that arrived, dropped gaps included; of a
    /// local file only the requested bytes.
    pub bytes: u64,
    /// Requests to a server; 0 for a local file.
    pub requests: u64,
    /// All is fetched by one request, because that is faster than to skip what is not needed.
    pub is_whole: bool,
}

/// Fetches ranges of a source in rising order.
///
/// Memory is bounded by one range and one piece, and 5 MiB for all of at most 6 requests in flight.
/// Must be used in a runtime with timers.
pub struct Fetcher<'a, S> {
    transfer: Transfer<S>,
    retries: Retries,
    on_retry: OnRetry<'a>,
    /// Offset in the bundle of the first byte of `buffered`, or of the next piece if that is empty.
    at: u64,
    buffered: Bytes,
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
            transfer: Transfer::new(source),
            retries,
            on_retry,
            at: 0,
            buffered: Bytes::new(),
            fetched: 0,
            failures: 0,
            fetched_at_failure: 0,
            ends: None,
        }
    }

    fn source(&self) -> &S {
        self.transfer.source()
    }

    /// Announces the ranges that will be fetched, in rising order. Requests then ask for no more
    /// than these and the gaps between them that are not worth a request, which lets connections be
    /// reused, and several requests are in flight if the source allows it. Other ranges may be
    /// fetched, too.
    pub fn expect(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        let ranges: Vec<_> = ranges.into_iter().collect();
        self.transfer.expect(&ranges);
    }

    /// Checks that the source has exactly the `len` bytes of the bundle, if it reports its length.
    ///
    /// # Errors
    /// [`FetchError::Short`], [`FetchError::Trailing`].
    pub fn check_total(&self, len: u64) -> Result<(), FetchError> {
        match self.source().total() {
            Some(got) if got < len => Err(FetchError::Short { got, expected: len }),
            Some(got) if got > len => Err(FetchError::Trailing { expected: len }),
            _ => Ok(()),
        }
    }

    /// Checks that `bytes` more can be fetched before the deadline, at the rate so far.
    ///
    /// # Errors
    /// [`FetchError::TooSlow`].
    pub fn check_time(&mut self, bytes: u64) -> Result<(), FetchError> {
        let left = self.ends().saturating_duration_since(Instant::now());
        match self.transfer.time_of(bytes) {
            Some(needed) if needed > left => Err(FetchError::TooSlow {
                bytes,
                needed,
                left,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the number of bytes taken from the source so far ([`Download::bytes`]).
    #[must_use]
    pub fn fetched(&self) -> u64 {
        let ahead = if self.source().is_local() {
            self.buffered.len() as u64
        } else {
            0
        };
        self.fetched - ahead
    }

    /// Returns the download so far.
    #[must_use]
    pub fn so_far(&self) -> Download {
        let is_local = self.source().is_local();
        Download {
            bytes: self.fetched(),
            requests: if is_local {
                0
            } else {
                self.transfer.requests()
            },
            is_whole: false,
        }
    }

    /// Returns the download after `ranges`, in rising order, of a bundle of `len` bytes, if nothing
    /// fails. *Pure.*
    #[must_use]
    pub fn will_fetch(&self, ranges: &[Range<u64>], len: u64) -> Download {
        let so_far = self.so_far();
        if !self.can_skip() {
            return Download {
                bytes: len,
                ..so_far
            };
        }
        let planned = self.transfer.plan(ranges);
        let requests = if self.source().is_local() {
            0
        } else {
            planned.spans.len() as u64
        };
        Download {
            bytes: so_far.bytes + planned.spans.total(),
            requests: so_far.requests + requests,
            is_whole: planned.is_whole,
        }
    }

    fn drop_buffered(&mut self) {
        self.fetched = self.fetched();
        self.buffered = Bytes::new();
    }

    /// Returns whether the bytes between ranges can be skipped without fetching them.
    #[must_use]
    pub fn can_skip(&self) -> bool {
        self.source().can_seek()
    }

    /// Returns whether the source can be read again from an earlier offset.
    #[must_use]
    pub fn can_reread(&self) -> bool {
        self.source().can_reopen()
    }

    /// Returns whether the source is a file of this machine, which is cheap to read twice.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.source().is_local()
    }

    /// Returns what may explain wrong bytes ([`Source::doubt`]).
    #[must_use]
    pub fn doubt(&self) -> Option<SourceError> {
        self.source().doubt()
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
        self.transfer.close();
    }

    /// Returns to `offset`, in a source that can seek. Bytes fetched so far stay counted.
    pub fn seek_back(&mut self, offset: u64) {
        self.at = offset;
        self.drop_buffered();
        self.transfer.close();
    }

    /// Returns the local file that holds the bundle, for threads that read it by themselves; `None`
    /// for any other source.
    pub async fn local_file(&mut self) -> Option<LocalFile> {
        self.transfer.source_mut().local_file().await
    }

    /// Returns the next piece of the bundle, of any length; `None` at the end. For the head, whose
    /// length is unknown until it is read. *Reads.*
    ///
    /// # Errors
    /// [`FetchError::Source`], [`FetchError::Deadline`].
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

    /// Checks that the source ends at `len`, and returns the whole download. *Reads* only from a
    /// source that is read front to back and does not report its length: of any other, no byte
    /// beyond the bundle was read.
    ///
    /// # Errors
    /// [`FetchError::Trailing`].
    pub async fn finish(mut self, len: u64) -> Result<Download, FetchError> {
        self.check_total(len)?;
        if self.at == len && self.source().total().is_none() && self.transfer.is_open_ended() {
            // All bytes are there: a connection that fails now does no harm.
            let next = self.transfer.source_mut().piece().await;
            if !self.buffered.is_empty() || matches!(next, Ok(Some(_))) {
                return Err(FetchError::Trailing { expected: len });
            }
        }
        Ok(self.so_far())
    }

    async fn skip_to(&mut self, offset: u64) -> Result<(), FetchError> {
        let gap = offset.saturating_sub(self.at);
        let missing = gap.saturating_sub(self.buffered.len() as u64);
        if self.transfer.is_worth_skipping(offset, missing) {
            self.drop_buffered();
            self.at = self.transfer.skip_to(offset);
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
            if self.source().total().is_some() || !self.source().can_reopen() {
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
            let piece = timeout_at(ends, self.transfer.piece(self.at)).await;
            match piece.map_err(|_| self.too_late())? {
                Ok(None) if self.transfer.is_at_end(self.at) => self.transfer.close(),
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

    /// Returns the end of the time for the download.
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
        self.transfer.fail();
        if self.fetched - self.fetched_at_failure >= RETRY_RESET {
            self.failures = 0;
        }
        self.failures += 1;
        self.fetched_at_failure = self.fetched;
        let is_retried = error.is_transient() && self.failures < self.retries.max_failures;
        if !is_retried || (self.at > 0 && !self.source().can_reopen()) {
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
}

#[cfg(test)]
mod parallel_tests;
#[cfg(test)]
mod tests;
