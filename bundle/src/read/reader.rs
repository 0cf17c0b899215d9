//! Reading a bundle from front to back, or chunks of it on their own.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::limits::MAX_CHUNK_LEN;
use crate::read::chunk::{StoredChunk, UncheckedChunk};
use crate::read::error::ReadError;
use crate::read::head::HeadParser;
use crate::read::release::Release;
use bytes::BytesMut;
use seal::{Purpose, Trust};
use sha2::{Digest as _, Sha256};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked from a source at once.
const READ_LEN: usize = 1 << 20;

/// Reads a bundle from front to back.
///
/// Memory: the head (see [`HeadParser`]), and at most one chunk of 4 MiB and 1 MiB read ahead.
#[derive(Debug)]
pub struct BundleReader<S> {
    source: S,
    release: Arc<Release>,
    buffer: BytesMut,
    next: usize,
}

impl<S: AsyncRead + Unpin> BundleReader<S> {
    /// Reads and verifies the head of a bundle. *Reads* from `source`, a little beyond the head.
    ///
    /// # Errors
    /// [`ReadError`], in the order of checks of [`HeadParser`].
    pub async fn open(source: S, trust: &Trust, purpose: Purpose) -> Result<Self, ReadError> {
        Self::open_with(source, HeadParser::new(trust, purpose)).await
    }

    /// As [`BundleReader::open`] without looking at signatures; only ever on a person's explicit
    /// wish.
    ///
    /// # Errors
    /// [`ReadError`], but none about signatures.
    pub async fn open_without_verifying(source: S) -> Result<Self, ReadError> {
        Self::open_with(source, HeadParser::without_verifying()).await
    }

    async fn open_with(mut source: S, mut head: HeadParser) -> Result<Self, ReadError> {
        let mut buffer = BytesMut::new();
        loop {
            if buffer.is_empty() && fill(&mut source, &mut buffer, head.missing()).await? == 0 {
                return Err(head.truncated());
            }
            let used = head.feed(&buffer)?;
            drop(buffer.split_to(used));
            if let Some(release) = head.release() {
                return Ok(Self {
                    release: Arc::clone(release),
                    source,
                    buffer,
                    next: 0,
                });
            }
        }
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// The next chunk as it comes, `None` after the last; hashing it is left to
    /// [`UncheckedChunk::check`], on any thread. *Reads.*
    ///
    /// # Errors
    /// [`ReadError::Source`] or [`ReadError::Truncated`].
    pub async fn next_unchecked(&mut self) -> Result<Option<UncheckedChunk>, ReadError> {
        let number = self.next;
        let Some(entry) = self.release.chunk(number) else {
            return Ok(None);
        };
        let len = entry.stored_len as usize;
        while self.buffer.len() < len {
            let missing = len.saturating_sub(self.buffer.len());
            if fill(&mut self.source, &mut self.buffer, missing).await? == 0 {
                let payload = self.release.payload_range();
                let found = entry
                    .payload_offset
                    .saturating_add(self.buffer.len() as u64);
                let expected = payload.end.saturating_sub(payload.start);
                return Err(ReadError::Truncated {
                    what: "payload",
                    found,
                    expected,
                });
            }
        }
        self.next = number.saturating_add(1);
        Ok(Some(UncheckedChunk {
            number,
            bytes: self.buffer.split_to(len).freeze(),
        }))
    }

    /// The next chunk, its stored bytes checked; `None` after the last. *Reads.*
    ///
    /// # Errors
    /// [`ReadError::Source`], [`ReadError::Truncated`] or [`ReadError::ChunkDigest`].
    pub async fn next_chunk(&mut self) -> Result<Option<StoredChunk>, ReadError> {
        match self.next_unchecked().await? {
            Some(chunk) => chunk.check(&self.release).map(Some),
            None => Ok(None),
        }
    }

    /// Reads what follows the last chunk: the block hints, whose digest is checked, and then the
    /// end.
    ///
    /// # Errors
    /// [`ReadError::Unfinished`] before the last chunk; [`ReadError::Truncated`],
    /// [`ReadError::Digest`], or [`ReadError::Trailing`] if anything follows.
    pub async fn finish(mut self) -> Result<(), ReadError> {
        let left = self.release.chunks().len().saturating_sub(self.next);
        if left > 0 {
            return Err(ReadError::Unfinished { left });
        }
        let hints = self.release.hints_range().clone();
        let (mut hash, mut at) = (Sha256::new(), hints.start);
        loop {
            if self.buffer.is_empty() && fill(&mut self.source, &mut self.buffer, 1).await? == 0 {
                break;
            }
            let more = hints.end.saturating_sub(at);
            let take = usize::try_from(more)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            if take == 0 {
                return Err(ReadError::Trailing { at });
            }
            hash.update(self.buffer.split_to(take));
            at = at.saturating_add(take as u64);
        }
        if at < hints.end {
            let (found, expected) = (
                at.saturating_sub(hints.start),
                hints.end.saturating_sub(hints.start),
            );
            return Err(ReadError::Truncated {
                what: "block hints",
                found,
                expected,
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

/// Reads once; returns how many bytes came, 0 at the end of the source. Bytes that were handed out
/// as chunks are not moved: the buffer makes new room when it has none left.
async fn fill<S: AsyncRead + Unpin>(
    source: &mut S,
    buffer: &mut BytesMut,
    missing: usize,
) -> io::Result<usize> {
    if buffer.capacity().saturating_sub(buffer.len()) < missing.min(MAX_CHUNK_LEN as usize) {
        buffer.reserve(missing.clamp(READ_LEN, MAX_CHUNK_LEN as usize));
    }
    source.read_buf(buffer).await
}
