//! Errors of reading a bundle and of decoding a chunk.

use crate::format::index::IndexError;
use crate::format::limits::MAX_MANIFEST_LEN;
use crate::format::manifest::{ImageRole, ManifestError};
use crate::hex::hex;
use seal::{LINK_LEN, LinkError, MAX_LINKS, SealError, VerifyError};
use std::io;

/// Reasons why a bundle cannot be read.
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
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(
        "trust links of {found} bytes, expected a multiple of {LINK_LEN} up to {}",
        MAX_LINKS * LINK_LEN
    )]
    LinksLength { found: u64 },
    #[error("manifest of {found} bytes, expected 1 to {MAX_MANIFEST_LEN}")]
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
    #[error("{what} is {signed} in the signed statement, but {found} in the manifest")]
    Disagree {
        what: &'static str,
        signed: String,
        found: String,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("lengths do not fit in 64 bits")]
    Overflow,
    #[error("bundle is signed with a length of {signed} bytes, its parts have {parts}")]
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
    #[error("no chunk {chunk}: the release has {chunks}")]
    NoChunk { chunk: usize, chunks: usize },
    #[error("{left} chunks have not been read")]
    Unfinished { left: usize },
    #[error("data after the end of the bundle, at byte {at}")]
    Trailing { at: u64 },
}

// By hand: `#[from]` would make the cause a source too, and it would be printed twice.
impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl ReadError {
    /// Returns a short stable name for machines. *Pure.*
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Truncated { .. } => "truncated",
            Self::Seal(SealError::Damaged { .. }) => "seal-damaged",
            Self::Seal(_) => "seal",
            Self::Verify(VerifyError::Unsigned) => "unsigned",
            Self::Verify(_) | Self::Link(_) => "signature",
            Self::Manifest(_) | Self::ManifestLength { .. } => "manifest",
            Self::Digest { .. } | Self::ChunkDigest { .. } => "digest",
            Self::Disagree { .. } => "disagree",
            Self::Index(_) => "index",
            Self::Overflow
            | Self::LinksLength { .. }
            | Self::BundleLength { .. }
            | Self::ChunkLength { .. } => "length",
            Self::NoChunk { .. } | Self::Unfinished { .. } => "usage",
            Self::Trailing { .. } => "trailing",
        }
    }

    /// Returns true if the bundle is refused, false if reading failed for another reason. *Pure.*
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Source(_) | Self::NoChunk { .. } | Self::Unfinished { .. }
        )
    }
}

/// A chunk whose stored bytes were authenticated cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("image {image}: chunk {chunk}: {fault}")]
pub struct DecodeError {
    /// The chunk's image.
    pub image: ImageRole,
    /// The chunk's number.
    pub chunk: usize,
    /// The reason.
    pub fault: DecodeFault,
}

/// Reasons why a chunk cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DecodeFault {
    #[error("not a chunk of this release")]
    Foreign,
    #[error("zstd frame: {0}")]
    Header(HeaderFault),
    #[error("decompression failed: {0}")]
    Zstd(&'static str),
    #[error("decompresses to {found} bytes, expected {expected}")]
    Length { found: u64, expected: u64 },
    #[error("digest mismatch: expected {}, got {}", hex(expected), hex(found))]
    Digest { expected: [u8; 32], found: [u8; 32] },
    #[error("reading the bytes that it refers to: {0}")]
    Fetch(io::Error),
    #[error("{of} of {found} bytes, expected {expected}")]
    Buffer {
        of: &'static str,
        found: u64,
        expected: u64,
    },
}

/// Reasons why compressed bytes are not a zstd frame that a bundle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum HeaderFault {
    #[error("magic number not found")]
    Magic,
    #[error("not a single segment: its window is not bounded by its length")]
    Window,
    #[error("needs a dictionary")]
    Dictionary,
    #[error("content size {found}, expected {expected}")]
    ContentSize { found: u64, expected: u64 },
    #[error("ends after {found} of {stored} stored bytes")]
    Joined { found: u64, stored: u64 },
}
