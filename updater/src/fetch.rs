//! Getting byte ranges out of a source, in rising order, whatever the source and the network are like.

use crate::source::{LocalFile, Source, SourceError};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// A gap of at most this many bytes is read and dropped: a new request costs more than that.
const READ_THROUGH: u64 = 128 * 1024;
/// First pause before a request is repeated; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often and how patiently a passing failure is met by a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Failures in a row, without a byte between them, after which the download is given up.
    pub in_a_row: u32,
    /// Seed of the jitter, so that a fleet does not come back all at once.
    pub seed: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self { in_a_row: 8, seed: 0 }
    }
}

impl Retries {
    /// The pause before repetition number `failures` (from 1). *Pure.* Between half and the whole of
    /// 0.5 s, 1 s, 2 s, up to 30 s.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(LONGEST_PAUSE);
        // SplitMix64's finaliser: spreads neighbouring seeds and counts over the whole range.
        let mut mixed = self.seed.wrapping_add(u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15));
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
    fetched: u64,
}

impl<'a, S: Source> Fetcher<'a, S> {
    /// A fetcher at the beginning of `source`.
    pub fn new(source: S, retries: Retries, on_retry: OnRetry<'a>) -> Self {
        Self { source, retries, on_retry, at: 0, held: Bytes::new(), open: false, fetched: 0 }
    }

    /// Bytes taken from the source so far, those read and dropped included.
    #[must_use]
    pub const fn fetched(&self) -> u64 {
        self.fetched
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
        self.held = Bytes::new();
        self.open = false;
    }

    /// The file of this machine that the bundle is in, for whoever reads it without the fetcher's help.
    pub async fn local_file(&mut self) -> Option<LocalFile> {
        self.source.local_file().await
    }

    /// Where it stands.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { at: self.at, fetched: self.fetched }
    }

    /// The next piece of the bundle, wherever it ends; `None` at the end. For the head, whose length is not
    /// known before it is read.
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
    /// [`FetchError`]. Passing failures are met by new requests that go on at the byte that is missing.
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
                let got = self.at;
                self.held = self.next_piece().await?.ok_or(FetchError::Short { got, expected })?;
            }
            let part = self.held.split_to(self.held.len().min(len - range.len()));
            self.at += part.len() as u64;
            range.extend_from_slice(&part);
        }
        Ok(range.freeze())
    }

    /// Checks that the source ends at `len`. Only a source read front to back is asked: for the others,
    /// nothing that lies behind the bundle was or will be read.
    ///
    /// # Errors
    /// [`FetchError::Trailing`].
    pub async fn finish(mut self, len: u64) -> Result<u64, FetchError> {
        if self.at == len && self.open && (!self.held.is_empty() || self.next_piece().await?.is_some()) {
            return Err(FetchError::Trailing { expected: len });
        }
        Ok(self.fetched)
    }

    async fn skip_to(&mut self, offset: u64) -> Result<(), FetchError> {
        let gap = offset.saturating_sub(self.at);
        let held = self.held.len() as u64;
        if gap > held && gap - held > READ_THROUGH && self.source.can_seek() {
            self.held = Bytes::new();
            self.open = false;
            self.at = offset;
            return Ok(());
        }
        while self.at < offset {
            if self.held.is_empty() {
                let got = self.at;
                self.held = self.next_piece().await?.ok_or(FetchError::Short { got, expected: offset })?;
            }
            let dropped = (offset - self.at).min(self.held.len() as u64);
            drop(self.held.split_to(dropped as usize));
            self.at += dropped;
        }
        Ok(())
    }

    /// A piece that begins at `at`, by as many requests as it takes.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        let mut failures = 0;
        loop {
            match self.try_piece().await {
                Ok(piece) => {
                    self.fetched += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(error) => {
                    self.open = false;
                    failures += 1;
                    let again = error.is_passing() && failures < self.retries.in_a_row;
                    if !again || (self.at > 0 && !self.source.can_seek()) {
                        return Err(error.into());
                    }
                    let pause = self.retries.pause(failures);
                    (self.on_retry)(&error, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        if !self.open {
            self.source.open(self.at).await?;
            self.open = true;
        }
        self.source.piece().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Fault, MemorySource};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("runtime").block_on(future)
    }

    #[test]
    fn a_lost_connection_goes_on_at_the_missing_byte() {
        let source = MemorySource::new(bytes(10_000), 700).with_faults([
            Fault::DropAfter(1_234),
            Fault::Status(503),
            Fault::DropAfter(0),
        ]);
        let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
        let got = run(fetcher.range(0, 10_000)).expect("range");
        assert_eq!(got, bytes(10_000));
        assert_eq!(fetcher.source.opened, [0, 1_234, 1_234, 1_234]);
        assert_eq!(fetcher.fetched(), 10_000);
    }

    #[test]
    fn a_large_gap_is_not_fetched() {
        let source = MemorySource::new(bytes(1_000_000), 4096);
        let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
        run(async {
            fetcher.range(0, 100).await.expect("range");
            let got = fetcher.range(900_000, 100).await.expect("range");
            assert_eq!(got, bytes(1_000_000)[900_000..900_100]);
        });
        assert_eq!(fetcher.source.opened, [0, 900_000]);
        assert_eq!(fetcher.fetched(), 2 * 4096);
    }

    #[test]
    fn failures_in_a_row_end_it_but_progress_counts_anew() {
        let retries = Retries { in_a_row: 3, seed: 1 };
        let hopeless = [Fault::Status(503), Fault::Status(503), Fault::Status(503)];
        let mut fetcher =
            Fetcher::new(MemorySource::new(bytes(100), 10).with_faults(hopeless), retries, &|_, _| {});
        let error = run(fetcher.range(0, 100)).expect_err("gives up");
        assert_eq!(error.to_string(), "memory: server answered 503");
        let slow = (0..9).map(|_| Fault::DropAfter(11));
        let mut fetcher =
            Fetcher::new(MemorySource::new(bytes(100), 11).with_faults(slow), retries, &|_, _| {});
        assert_eq!(run(fetcher.range(0, 100)).expect("range"), bytes(100));
    }

    #[test]
    fn a_lasting_failure_is_not_repeated() {
        let source = MemorySource::new(bytes(100), 10).with_faults([Fault::Status(404)]);
        let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
        run(fetcher.range(0, 100)).expect_err("not found");
        assert_eq!(fetcher.source.opened.len(), 1);
    }

    #[test]
    fn short_and_trailing_are_told() {
        let mut fetcher = Fetcher::new(MemorySource::new(bytes(99), 10), Retries::default(), &|_, _| {});
        let error = run(fetcher.range(0, 100)).expect_err("short");
        assert_eq!(error.to_string(), "bundle ends after 99 bytes, expected 100");
        let mut fetcher = Fetcher::new(MemorySource::new(bytes(101), 10), Retries::default(), &|_, _| {});
        run(fetcher.range(0, 100)).expect("range");
        let error = run(fetcher.finish(100)).expect_err("trailing");
        assert_eq!(error.to_string(), "there is data after the 100 bytes of the bundle");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let retries = Retries { in_a_row: 8, seed: 42 };
        for failures in 1..100 {
            let pause = retries.pause(failures);
            let whole = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
            assert!(pause >= whole / 2 && pause <= whole, "{failures}: {pause:?}");
        }
    }

    proptest! {
        #[test]
        fn any_rising_ranges_over_any_network_are_the_bytes(
            piece in 1_usize..5_000,
            seekable in any::<bool>(),
            gaps in prop::collection::vec((0_u64..200_000, 0_usize..20_000), 1..12),
            drops in prop::collection::vec(1_u64..60_000, 0..6),
        ) {
            let all = bytes(3_000_000);
            let faults = drops.into_iter().map(Fault::DropAfter);
            let mut source = MemorySource::new(all.clone(), piece);
            if seekable {
                source = source.with_faults(faults);
            }
            source.seekable = seekable;
            let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
            let mut at = 0;
            for (gap, len) in gaps {
                let from = at + gap;
                let got = run(fetcher.range(from, len)).expect("range");
                prop_assert_eq!(&got[..], &all[from as usize..from as usize + len]);
                at = from + len as u64;
            }
        }
    }
}
