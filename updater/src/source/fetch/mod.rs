//! Getting byte ranges out of a source, in rising order, whatever the source and the network are
//! like.

mod spans;

use super::byte_source::Source;
use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::{Bytes, BytesMut};
use spans::Spans;
use std::ops::Range;
use std::time::Duration;

/// A gap of at most this many bytes is read and dropped: a new request costs more than that. Of a
/// bundle of 300 MB an adaptive download fetches 69.6 MB in 728 requests with 12 KiB, 70.8 MB in
/// 642 with 16 KiB, and with 8 KiB 1 MB less in about 900 (docs/decisions/0201-apply.md).
const READ_THROUGH: u64 = 12 * 1024;
/// Bytes after which failures are counted anew. Less would let a server go on for ever that gives a
/// byte to each request.
const PROGRESS: u64 = 16 * 1024;
/// Least that is asked for where nobody has said what will be needed. Each further request asks for
/// as much again as was read: what is on its way in vain when it turns out that the rest is not
/// needed is never more than what was.
const LEAST: u64 = 256 * 1024;
/// Longest pause that a server may ask for.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// First pause before a request is repeated, where nothing else is said.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often and how patiently a passing failure is met by a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Failures in a row, with less than 16 KiB between them, at which the download is given up.
    pub in_a_row: u32,
    /// Seed of the jitter, so that a fleet does not come back all at once.
    pub seed: u64,
    /// Pause before the first repetition; it doubles with each failure in a row, up to 30 s.
    pub first_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            in_a_row: 8,
            seed: 0,
            first_pause: FIRST_PAUSE,
        }
    }
}

impl Retries {
    /// The pause before repetition number `failures` (from 1). *Pure.* Between half and the whole
    /// of the first pause, twice that, four times that, up to 30 s.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(LONGEST_PAUSE);
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

/// Why a range could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source failed, and trying again would not help or has not helped.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source ended early.
    #[error("bundle ends after {got} bytes, expected {expected}")]
    Short {
        /// Where it ended.
        got: u64,
        /// Where it should have.
        expected: u64,
    },
    /// There are bytes after the end of the bundle.
    #[error("there is data after the {expected} bytes of the bundle")]
    Trailing {
        /// Length of the bundle.
        expected: u64,
    },
}

/// Told about each failure that is met by a new request: what failed, and how long the pause is.
pub type OnRetry<'a> = &'a (dyn Fn(&SourceError, Duration) + Send + Sync);

/// A place in a source, to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    at: u64,
    fetched: u64,
}

/// Reads ranges of a source in rising order. Memory is bounded by one range and one piece.
pub struct Fetcher<'a, S> {
    source: S,
    retries: Retries,
    on_retry: OnRetry<'a>,
    /// Offset in the bundle of the first byte of `held`, or of the next piece if nothing is held.
    at: u64,
    held: Bytes,
    open: bool,
    spans: Spans,
    /// Where the present request ends, if it was asked to.
    open_until: Option<u64>,
    fetched: u64,
    failures: u32,
    /// What had been fetched at the last failure.
    fetched_then: u64,
}

impl<'a, S: Source> Fetcher<'a, S> {
    /// A fetcher at the beginning of `source`.
    pub fn new(source: S, retries: Retries, on_retry: OnRetry<'a>) -> Self {
        Self {
            source,
            retries,
            on_retry,
            at: 0,
            held: Bytes::new(),
            open: false,
            spans: Spans::default(),
            open_until: None,
            fetched: 0,
            failures: 0,
            fetched_then: 0,
        }
    }

    /// Says which ranges will be asked for, in rising order, so that no more than them (and small
    /// gaps between them) is requested, and connections can be used again. Others may be asked for
    /// all the same.
    pub fn expect(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        self.spans = Spans::new(ranges, READ_THROUGH);
        if self.asks_for_parts() {
            // What was requested before may be more than that.
            self.open = false;
        }
    }

    /// Whether it matters how much is asked for.
    fn asks_for_parts(&self) -> bool {
        self.source.can_seek() && !self.source.is_local()
    }

    /// Checks that the source has the `len` bytes of the bundle and no more, where it tells its
    /// length.
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

    /// Bytes taken from the source so far, those that came over a network and were dropped
    /// included; of a file of this machine, those that were asked for.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        let ahead = if self.source.is_local() {
            self.held.len() as u64
        } else {
            0
        };
        self.fetched - ahead
    }

    /// What [`Fetcher::fetched`] will be when `ranges`, in rising order, were taken of the `len`
    /// bytes of the bundle, if nothing fails. *Pure.*
    #[must_use]
    pub fn will_fetch(&self, ranges: Vec<Range<u64>>, len: u64) -> u64 {
        if !self.can_skip() {
            return len;
        }
        let gaps = if self.asks_for_parts() {
            READ_THROUGH
        } else {
            0
        };
        self.fetched() + Spans::new(ranges, gaps).total()
    }

    /// Forgets what was read ahead.
    fn drop_held(&mut self) {
        self.fetched = self.fetched();
        self.held = Bytes::new();
    }

    /// Whether only the ranges that are asked for are taken from the source.
    #[must_use]
    pub fn can_skip(&self) -> bool {
        self.source.can_seek()
    }

    /// Whether reading everything twice costs next to nothing.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.source.is_local()
    }

    /// Returns what may explain wrong bytes ([`Source::doubt`]).
    #[must_use]
    pub fn doubt(&self) -> Option<SourceError> {
        self.source.doubt()
    }

    /// Goes back, in a source that can seek, as if nothing had been read since.
    pub fn rewind(&mut self, to: &Mark) {
        self.at = to.at;
        self.fetched = to.fetched;
        self.held = Bytes::new();
        self.open = false;
    }

    /// Goes back to `offset`, in a source that can seek. What was fetched so far stays counted.
    pub fn go_back(&mut self, offset: u64) {
        self.at = offset;
        self.drop_held();
        self.open = false;
    }

    /// The file of this machine that the bundle is in, for whoever reads it without the fetcher's
    /// help.
    pub async fn local_file(&mut self) -> Option<LocalFile> {
        self.source.local_file().await
    }

    /// Where it stands.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            fetched: self.fetched(),
        }
    }

    /// The next piece of the bundle, wherever it ends; `None` at the end. For the head, whose
    /// length is not known before it is read.
    ///
    /// # Errors
    /// [`FetchError::Source`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        if self.held.is_empty() {
            match self.next_piece().await? {
                Some(piece) => self.held = piece,
                None => return Ok(None),
            }
        }
        let piece = std::mem::take(&mut self.held);
        self.at += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Puts back the end of the piece that was taken last.
    pub fn put_back(&mut self, rest: Bytes) {
        self.at -= rest.len() as u64;
        self.held = rest;
    }

    /// The `len` bytes at `offset`, which must not be before the end of the last range.
    ///
    /// # Errors
    /// [`FetchError`]. Passing failures are met by new requests that go on at the byte that is
    /// missing.
    pub async fn range(&mut self, offset: u64, len: usize) -> Result<Bytes, FetchError> {
        let expected = offset + len as u64;
        self.skip_to(offset).await?;
        if self.held.len() >= len {
            self.at += len as u64;
            return Ok(self.held.split_to(len));
        }
        let mut range = BytesMut::with_capacity(len);
        while range.len() < len {
            if self.held.is_empty() {
                self.held = self.expected_piece(expected).await?;
            }
            let part = self.held.split_to(self.held.len().min(len - range.len()));
            self.at += part.len() as u64;
            range.extend_from_slice(&part);
        }
        Ok(range.freeze())
    }

    /// Checks that the source ends at `len`. Only a source read front to back that does not tell
    /// its length is asked: for the others, nothing that lies behind the bundle was or will be
    /// read.
    ///
    /// # Errors
    /// [`FetchError::Trailing`].
    pub async fn finish(mut self, len: u64) -> Result<u64, FetchError> {
        self.check_total(len)?;
        let ask = self.source.total().is_none() && self.open_until.is_none();
        if self.at == len && self.open && ask {
            // All is there: a connection that fails now does no harm.
            if !self.held.is_empty() || matches!(self.source.piece().await, Ok(Some(_))) {
                return Err(FetchError::Trailing { expected: len });
            }
        }
        Ok(self.fetched())
    }

    async fn skip_to(&mut self, offset: u64) -> Result<(), FetchError> {
        let gap = offset.saturating_sub(self.at);
        let held = self.held.len() as u64;
        // Where a request has to be made anyway, it need not begin with the gap.
        let worth_a_request = !self.open || gap.saturating_sub(held) > READ_THROUGH;
        if gap > held && worth_a_request && self.source.can_seek() {
            self.drop_held();
            self.open = false;
            self.at = offset;
            return Ok(());
        }
        while self.at < offset {
            if self.held.is_empty() {
                self.held = self.expected_piece(offset).await?;
            }
            let dropped = (offset - self.at).min(self.held.len() as u64);
            drop(self.held.split_to(dropped as usize));
            self.at += dropped;
        }
        Ok(())
    }

    /// Returns a piece that begins at `at`, where the signed length says that there are bytes up to
    /// `expected`. An answer without a length that was cut looks like the end of the file: it is
    /// asked for again, as after any other passing failure.
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
            let message = format!("answer ended at byte {got}, expected {expected}");
            let what = "an answer without a length".to_owned();
            let pause = self.failed(SourceError::Network { what, message });
            tokio::time::sleep(pause.map_err(|_| short)?).await;
        }
    }

    /// A piece that begins at `at`, by as many requests as it takes.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            match self.try_piece().await {
                Ok(None) if self.open_until.is_some_and(|until| self.at >= until) => {
                    self.open = false
                }
                Ok(piece) => {
                    self.fetched += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(error) => {
                    let pause = self.failed(error)?;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Counts a failure: how long to pause before the next request, or the error if there is to be
    /// none.
    fn failed(&mut self, error: SourceError) -> Result<Duration, SourceError> {
        self.open = false;
        if self.fetched - self.fetched_then >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        self.fetched_then = self.fetched;
        let again = error.is_passing() && self.failures < self.retries.in_a_row;
        if !again || (self.at > 0 && !self.source.can_reopen()) {
            return Err(error);
        }
        let asked = error.retry_after().unwrap_or_default().min(LONGEST_REST);
        let pause = self.retries.pause(self.failures).max(asked);
        (self.on_retry)(&error, pause);
        Ok(pause)
    }

    async fn try_piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        if !self.open {
            let until = self
                .spans
                .end_at(self.at)
                .unwrap_or(self.at.saturating_add(self.at.max(LEAST)));
            self.open_until = self.asks_for_parts().then_some(until);
            self.source.until(self.open_until);
            self.source.open(self.at).await?;
            self.open = true;
            if !self.source.can_seek() {
                // It has turned out that the server knows no ranges: it gives all.
                self.open_until = None;
            }
        }
        self.source.piece().await
    }
}

#[cfg(test)]
mod tests;
