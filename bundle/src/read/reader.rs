//! A bundle read from front to back, from a file, a pipe or memory.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::read::chunk::{StoredChunk, UncheckedChunk};
use crate::read::error::ReadError;
use crate::read::head::HeadParser;
use crate::read::release::Release;
use bytes::Bytes;
use seal::{Purpose, Trust};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::sync::Arc;

/// Number of bytes that are read from a source at once, or more for a longer chunk.
const READ_LEN: usize = 1 << 20;

/// Reads a bundle from front to back.
///
/// Memory: the head (see [`HeadParser`]), and at most one chunk of 4 MiB and 1 MiB read ahead.
#[derive(Debug)]
pub struct BundleReader<S> {
    buffered: Buffered<S>,
    release: Arc<Release>,
    next: usize,
}

impl<S: Read> BundleReader<S> {
    /// Reads and verifies the head of a bundle. *Reads* from `source`, up to 1 MiB more than the
    /// head.
    ///
    /// # Errors
    /// [`ReadError`], in the order of checks of [`HeadParser`].
    pub fn open(source: S, trust: &Trust, purpose: Purpose) -> Result<Self, ReadError> {
        Self::open_with(source, HeadParser::new(trust, purpose))
    }

    /// As [`BundleReader::open`] without verifying signatures. For a caller whose operator has
    /// chosen to skip verification.
    ///
    /// # Errors
    /// [`ReadError`], but none about signatures.
    pub fn open_without_verifying(source: S) -> Result<Self, ReadError> {
        Self::open_with(source, HeadParser::without_verifying())
    }

    fn open_with(source: S, mut head: HeadParser) -> Result<Self, ReadError> {
        let mut buffered = Buffered {
            source,
            bytes: Bytes::new(),
        };
        loop {
            if buffered.bytes.is_empty() && !buffered.fill(1)? {
                return Err(head.truncated());
            }
            let used = head.feed(&buffered.bytes)?;
            drop(buffered.bytes.split_to(used));
            if let Some(release) = head.release() {
                return Ok(Self {
                    release: Arc::clone(release),
                    buffered,
                    next: 0,
                });
            }
        }
    }

    /// Returns the release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Returns the next chunk, `None` after the last. *Reads.* The caller checks the stored bytes
    /// with [`UncheckedChunk::check`], on any thread.
    ///
    /// # Errors
    /// [`ReadError::Source`] or [`ReadError::Truncated`].
    pub fn next_unchecked(&mut self) -> Result<Option<UncheckedChunk>, ReadError> {
        let number = self.next;
        let Some(entry) = self.release.chunk(number) else {
            return Ok(None);
        };
        let len = entry.stored_len as usize;
        if !self.buffered.fill(len)? {
            let payload = self.release.payload_range();
            let buffered = self.buffered.bytes.len() as u64;
            return Err(ReadError::Truncated {
                what: "payload",
                found: entry.payload_offset.saturating_add(buffered),
                expected: payload.end.saturating_sub(payload.start),
            });
        }
        self.next = number.saturating_add(1);
        Ok(Some(UncheckedChunk {
            number,
            bytes: self.buffered.bytes.split_to(len),
        }))
    }

    /// Returns the next chunk after checking its stored bytes; `None` after the last. *Reads.*
    ///
    /// # Errors
    /// [`ReadError::Source`], [`ReadError::Truncated`] or [`ReadError::ChunkDigest`].
    pub fn next_chunk(&mut self) -> Result<Option<StoredChunk>, ReadError> {
        match self.next_unchecked()? {
            Some(chunk) => chunk.check(&self.release).map(Some),
            None => Ok(None),
        }
    }

    /// Checks what follows the last chunk: the digest of the block hints, and that nothing follows
    /// them. *Reads.*
    ///
    /// # Errors
    /// [`ReadError::Unfinished`] before the last chunk; [`ReadError::Truncated`],
    /// [`ReadError::Digest`], or [`ReadError::Trailing`] if anything follows.
    pub fn finish(mut self) -> Result<(), ReadError> {
        let left = self.release.chunks().len().saturating_sub(self.next);
        if left > 0 {
            return Err(ReadError::Unfinished { left });
        }
        let hints = self.release.hints_range().clone();
        let mut hash = Sha256::new();
        let mut at = hints.start;
        while self.buffered.fill(1)? {
            let left = usize::try_from(hints.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let len = left.min(self.buffered.bytes.len());
            if len == 0 {
                return Err(ReadError::Trailing { at });
            }
            hash.update(self.buffered.bytes.split_to(len));
            at = at.saturating_add(len as u64);
        }
        if at < hints.end {
            return Err(ReadError::Truncated {
                what: "block hints",
                found: at.saturating_sub(hints.start),
                expected: hints.end.saturating_sub(hints.start),
            });
        }
        let found: [u8; 32] = hash.finalize().into();
        match &self.release.manifest().hints {
            Some(expected) if expected.0 != found => Err(ReadError::Digest {
                what: "block hints",
                expected: expected.0,
                found,
            }),
            _ => Ok(()),
        }
    }
}

/// A source, and the bytes that were read from it and not yet used.
#[derive(Debug)]
struct Buffered<S> {
    source: S,
    bytes: Bytes,
}

impl<S: Read> Buffered<S> {
    /// Reads until at least `len` bytes are buffered; returns false if the source ends before.
    ///
    /// Bytes that were split off stay where they are: a new block is allocated for the next ones.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        let missing = len.saturating_sub(self.bytes.len());
        if missing == 0 {
            return Ok(true);
        }
        let missing = missing.max(READ_LEN);
        let mut block = Vec::with_capacity(self.bytes.len().saturating_add(missing));
        block.extend_from_slice(&self.bytes);
        self.source
            .by_ref()
            .take(missing as u64)
            .read_to_end(&mut block)?;
        self.bytes = block.into();
        Ok(self.bytes.len() >= len)
    }
}
