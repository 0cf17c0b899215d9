//! The chunk index: one entry of fixed width for every chunk, then the base ranges of delta chunks.
//!
//! ```text
//! chunk entry, 64 bytes, little-endian
//! offset  bytes  content
//!      0      1  kind: 0 zero, 1 raw, 2 zstd, 3 repeat, 4 delta
//!      1      3  length, uncompressed: 1 byte to 4 MiB
//!      4      4  stored length: 0 for zero and repeat, the length for raw, else less than that
//!      8      4  bytes directly before it that it refers to: a multiple of 4096 within its run;
//!                0 for zero, repeat and the first of a run
//!     12      4  argument: for repeat the number of the earlier chunk, counted over the bundle;
//!                for delta how many base ranges it has; else 0
//!     16     32  SHA-256 of the uncompressed bytes
//!     48     16  first half of the SHA-256 of the stored bytes; zero for zero and repeat
//! base range, 16 bytes
//!      0      1  role of the base image: 1 boot, 2 root, 3 recovery, 4 guard
//!      1      3  zero
//!      4      4  length, at least 1
//!      8      8  offset in the base image
//! ```
//! The offset of a chunk is not stored: it follows from the entries before it, so chunks can
//! neither overlap nor leave a gap. Base ranges belong to delta chunks in their order.
//!
//! A *run* is a sequence of chunks with stored bytes. Each but the first refers to bytes of the run
//! before it, so that small chunks compress like large ones.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

mod decode;

use crate::format::limits::MAX_RUN_LEN;
use crate::format::manifest::ImageRole;
use seal::field::put;

/// Length of a chunk entry in bytes.
pub const CHUNK_ENTRY_LEN: usize = 64;
/// Length of a base range in bytes.
pub const BASE_RANGE_LEN: usize = 16;

/// How a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Zeroes; nothing is stored. Up to 4 MiB long, whatever the image's chunk size is.
    Zero,
    /// Stored uncompressed, because compression does not make it shorter.
    Raw,
    /// One zstd frame.
    Zstd,
    /// The same bytes as an earlier chunk of the same image, which is neither zero nor a repeat;
    /// nothing is stored.
    Repeat {
        /// Number of the earlier chunk.
        chunk: usize,
    },
    /// One zstd frame whose prefix is made of ranges of the base release's images.
    Delta {
        /// Number of its first base range.
        first_range: usize,
        /// Number of its base ranges, at least 1.
        ranges: usize,
    },
}

impl ChunkKind {
    /// Returns the word for the kind. *Pure.*
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Raw => "raw",
            Self::Zstd => "zstd",
            Self::Repeat { .. } => "repeat",
            Self::Delta { .. } => "delta",
        }
    }
}

/// A chunk: a part of an image, and where and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The image it belongs to: an index into [`crate::Release::images`].
    pub image: usize,
    /// Offset in the image, in bytes: a multiple of 4096.
    pub offset: u64,
    /// Uncompressed length in bytes: a multiple of 4096, except in the last chunk of an image.
    pub len: u32,
    /// How it is stored.
    pub kind: ChunkKind,
    /// How many bytes of the image directly before it the stored bytes refer to: a multiple of 4096
    /// within its run; 0 if it begins one.
    pub before: u32,
    /// Offset of its stored bytes in the payload, in bytes.
    pub payload_offset: u64,
    /// Stored length in bytes.
    pub stored_len: u32,
    /// SHA-256 of the uncompressed bytes, for zeroes and repeats too.
    pub sha256: [u8; 32],
    /// First half of the SHA-256 of the stored bytes; zero if there are none.
    pub stored_digest: [u8; 16],
}

/// A range of a base image that a delta chunk refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseRange {
    /// The base image.
    pub role: ImageRole,
    /// Offset in that image, in bytes.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: u32,
}

/// The decoded chunk index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The chunks, in payload order.
    pub chunks: Vec<ChunkEntry>,
    /// The base ranges, in the order of the delta chunks that use them.
    pub ranges: Vec<BaseRange>,
}

/// Reasons to refuse an index. Chunks are numbered from 0 over the whole bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum IndexError {
    #[error("index is {found} bytes long, expected {expected}")]
    Length { found: u64, expected: u64 },
    #[error("chunk {chunk}: unknown kind {kind}")]
    Kind { chunk: usize, kind: u8 },
    #[error("chunk {chunk}: length {len}, expected 1 to {limit}")]
    ChunkLength { chunk: usize, len: u32, limit: u32 },
    #[error("chunk {chunk}: length {len}, expected a multiple of 4096 before the end of the image")]
    Unaligned { chunk: usize, len: u32 },
    #[error("chunk {chunk}: stored length {stored} does not fit a {kind} chunk of {len} bytes")]
    StoredLength {
        chunk: usize,
        kind: &'static str,
        stored: u32,
        len: u32,
    },
    #[error("chunk {chunk}: a {kind} chunk has argument {argument}")]
    Argument {
        chunk: usize,
        kind: &'static str,
        argument: u32,
    },
    #[error("chunk {chunk}: a {kind} chunk refers to {before} bytes before it")]
    Before {
        chunk: usize,
        kind: &'static str,
        before: u32,
    },
    #[error(
        "chunk {chunk}: refers to {before} bytes before it, expected a multiple of 4096, maximum {run}"
    )]
    Run { chunk: usize, before: u32, run: u32 },
    #[error("chunk {chunk}: ends a run of {len} bytes, maximum {MAX_RUN_LEN}")]
    RunLength { chunk: usize, len: u32 },
    #[error("chunk {chunk}: digests do not fit a {kind} chunk")]
    Digests { chunk: usize, kind: &'static str },
    #[error(
        "chunk {chunk}: repeats chunk {of}, which is not an equal earlier chunk of the same image"
    )]
    Repeat { chunk: usize, of: u32 },
    #[error("image {image}: chunks cover {covered} bytes, expected {size}")]
    Cover {
        image: ImageRole,
        covered: u64,
        size: u64,
    },
    #[error("payload of {payload} bytes, chunks have {chunks} stored bytes")]
    Payload { chunks: u64, payload: u64 },
    #[error("base range {range}: reserved bytes are not zero")]
    NotZero { range: usize },
    #[error("base range {range}: outside the images of the base release")]
    BaseRange { range: usize },
    #[error("chunk {chunk}: base ranges of {len} bytes, expected 1 to {limit}")]
    Prefix { chunk: usize, len: u64, limit: u64 },
    #[error("delta chunks use {used} base ranges, the index has {has}")]
    UnusedRanges { used: usize, has: usize },
}

impl Index {
    /// Returns the length of an index with that many entries; `None` if it does not fit in 64 bits.
    /// *Pure.*
    #[must_use]
    pub fn encoded_len(chunks: u64, ranges: u64) -> Option<u64> {
        let chunks = chunks.checked_mul(CHUNK_ENTRY_LEN as u64)?;
        chunks.checked_add(ranges.checked_mul(BASE_RANGE_LEN as u64)?)
    }

    /// Returns the bytes of the index. *Pure.*
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in &self.chunks {
            let mut entry = [0; CHUNK_ENTRY_LEN];
            let (kind, argument) = match chunk.kind {
                ChunkKind::Zero => (0, 0),
                ChunkKind::Raw => (1, 0),
                ChunkKind::Zstd => (2, 0),
                // Both are bounded by far less than 2^32: MAX_CHUNKS, MAX_BASE_RANGES.
                ChunkKind::Repeat { chunk } => (3, chunk as u32),
                ChunkKind::Delta { ranges, .. } => (4, ranges as u32),
            };
            put(&mut entry, 0, &(chunk.len << 8 | kind).to_le_bytes());
            put(&mut entry, 4, &chunk.stored_len.to_le_bytes());
            put(&mut entry, 8, &chunk.before.to_le_bytes());
            put(&mut entry, 12, &argument.to_le_bytes());
            put(&mut entry, 16, &chunk.sha256);
            put(&mut entry, 48, &chunk.stored_digest);
            bytes.extend_from_slice(&entry);
        }
        for range in &self.ranges {
            let mut entry = [0; BASE_RANGE_LEN];
            put(&mut entry, 0, &[range.role.code()]);
            put(&mut entry, 4, &range.len.to_le_bytes());
            put(&mut entry, 8, &range.offset.to_le_bytes());
            bytes.extend_from_slice(&entry);
        }
        bytes
    }
}
