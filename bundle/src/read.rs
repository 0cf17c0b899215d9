//! Reading a bundle from front to back, or chunks of it on their own.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::chunk::{DecodeError, Decoder, Source};
use crate::head::HeadParser;
use crate::hex;
use crate::index::{ChunkKind, IndexError};
use crate::limits::MAX_CHUNK_LEN;
use crate::manifest::{ImageRole, ManifestError};
use crate::release::Release;
use crate::verity::digest;
use bytes::{Bytes, BytesMut};
use seal::field::get;
use seal::{Purpose, SealError, Trust, VerifyError};
use sha2::{Digest as _, Sha256};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked from a source at once.
const READ_LEN: usize = 1 << 20;

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum ReadError {
    #[error("reading: {0}")]
    Source(io::Error),
    #[error("{what} ends after {found} of {expected} bytes")]
    Truncated {
        what: &'static str,
        found: u64,
        expected: u64,
    },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(
        "manifest of {found} bytes, expected 1 to {}",
        crate::limits::MAX_MANIFEST_LEN
    )]
    ManifestLength { found: u64 },
    #[error(
        "{what}: digest mismatch: expected {}, got {}",
        hex(expected),
        hex(found)
    )]
    Digest {
        what: &'static str,
        expected: [u8; 32],
        found: [u8; 32],
    },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{what} is {signed} in the signed statement, and {found} in the manifest")]
    Disagree {
        what: &'static str,
        signed: String,
        found: String,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("lengths do not fit in 64 bits")]
    Overflow,
    #[error("bundle is signed for {signed} bytes, its parts need {parts}")]
    BundleLength { signed: u64, parts: u64 },
    #[error("image {image}: chunk {chunk}: {found} stored bytes, expected {expected}")]
    ChunkLength {
        image: ImageRole,
        chunk: usize,
        found: u64,
        expected: u64,
    },
    #[error(
        "image {image}: chunk {chunk}: stored bytes: digest mismatch: expected {}, got {}",
        hex(expected),
        hex(found)
    )]
    ChunkDigest {
        image: ImageRole,
        chunk: usize,
        expected: [u8; 16],
        found: [u8; 16],
    },
    #[error("chunk {chunk}: the release has {chunks}")]
    NoChunk { chunk: usize, chunks: usize },
    #[error("{left} chunks have not been read")]
    Unfinished { left: usize },
    #[error("data after the end of the bundle, at byte {at}")]
    Trailing { at: u64 },
}

// Written out, so that the cause is part of the message and not a source that would be told twice.
impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl ReadError {
    /// A short stable name for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Truncated { .. } => "truncated",
            Self::Seal(SealError::Damaged { .. }) => "seal-damaged",
            Self::Seal(_) => "seal",
            Self::Verify(VerifyError::Unsigned) => "unsigned",
            Self::Verify(_) => "signature",
            Self::Manifest(_) | Self::ManifestLength { .. } => "manifest",
            Self::Digest { .. } | Self::ChunkDigest { .. } => "digest",
            Self::Disagree { .. } => "disagree",
            Self::Index(_) => "index",
            Self::Overflow | Self::BundleLength { .. } | Self::ChunkLength { .. } => "length",
            Self::NoChunk { .. } | Self::Unfinished { .. } => "usage",
            Self::Trailing { .. } => "trailing",
        }
    }

    /// Whether the bundle is refused (true), or could merely not be read from where it is (false).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Source(_) | Self::NoChunk { .. } | Self::Unfinished { .. }
        )
    }
}

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

/// The stored bytes of a chunk as they came, not yet checked against the index.
#[derive(Clone, Debug)]
pub struct UncheckedChunk {
    number: usize,
    bytes: Bytes,
}

/// The stored bytes of a chunk whose digest is that of the index; empty for zeroes and repeats.
#[derive(Clone, Debug)]
pub struct StoredChunk {
    number: usize,
    bytes: Bytes,
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

impl UncheckedChunk {
    /// The chunk's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Checks the stored bytes against the index. *Pure.*
    ///
    /// # Errors
    /// [`ReadError::ChunkDigest`].
    pub fn check(self, release: &Release) -> Result<StoredChunk, ReadError> {
        StoredChunk::check(release, self.number, self.bytes)
    }
}

impl StoredChunk {
    /// Takes the stored bytes of chunk `number`, from wherever they came, if they are what the
    /// index says. *Pure.*
    ///
    /// # Errors
    /// [`ReadError::NoChunk`], [`ReadError::ChunkLength`] or [`ReadError::ChunkDigest`].
    pub fn check(release: &Release, number: usize, bytes: Bytes) -> Result<Self, ReadError> {
        let chunks = release.chunks().len();
        let entry = release.chunk(number).ok_or(ReadError::NoChunk {
            chunk: number,
            chunks,
        })?;
        let image = release
            .images()
            .get(entry.image)
            .map_or(ImageRole::Boot, |image| image.role);
        let (found, expected) = (bytes.len() as u64, u64::from(entry.stored_len));
        if found != expected {
            return Err(ReadError::ChunkLength {
                image,
                chunk: number,
                found,
                expected,
            });
        }
        if expected > 0 {
            // Raw bytes are the image's own: they have a chunk's digest, all of which is known.
            let (found, right) = match entry.kind {
                ChunkKind::Raw => {
                    let found = digest::digest(&bytes);
                    (found, found == entry.sha256)
                }
                _ => {
                    let found: [u8; 32] = Sha256::digest(&bytes).into();
                    (found, found.starts_with(&entry.stored_digest))
                }
            };
            if !right {
                let (expected, found) = (entry.stored_digest, get(&found, 0));
                return Err(ReadError::ChunkDigest {
                    image,
                    chunk: number,
                    expected,
                    found,
                });
            }
        }
        Ok(Self { number, bytes })
    }

    /// The chunk's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The stored bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The uncompressed bytes, checked: see [`Decoder::decode`], which also keeps its memory for
    /// the next chunk.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(
        &self,
        release: &Release,
        into: &mut Vec<u8>,
        fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        Decoder::default().decode(release, self, into, fetch)
    }
}
