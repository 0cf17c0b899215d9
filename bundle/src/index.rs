//! The chunk index: one entry of fixed width for every chunk, then the base ranges of delta chunks.
//!
//! ```text
//! chunk entry, 64 bytes, little-endian
//! offset  bytes  what
//!      0      1  kind: 0 zero, 1 raw, 2 zstd, 3 repeat, 4 delta
//!      1      3  length, uncompressed: 1 byte to 4 MiB
//!      4      4  stored length: 0 for zero and repeat, the length for raw, else 1 to the length less 1
//!      8      4  bytes directly before it that it builds upon, a multiple of 4096 within its run; 0 for zero, repeat and the first of a run
//!     12      4  argument: repeat: number of the earlier chunk, counted over the bundle; delta: number of its base ranges; else 0
//!     16     32  SHA-256 of the uncompressed bytes
//!     48     16  first half of the SHA-256 of the stored bytes: zero for zero and repeat, of the same as the other for raw
//! base range, 16 bytes
//!      0      1  role of the base image: 1 boot, 2 root, 3 recovery, 4 guard
//!      1      3  zero
//!      4      4  length, at least 1
//!      8      8  offset in the base image
//! ```
//! Where a chunk lies is not stored but follows from the entries before it, so that chunks can
//! neither overlap nor leave a gap. Base ranges belong to delta chunks in their order.
//!
//! A *run* is a stretch of chunks with stored bytes, of which each but the first builds upon bytes
//! of the run before it, so that small chunks compress like large ones.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_PREFIX_LEN, MAX_RUN_LEN};
use crate::manifest::{BaseImage, ImageInfo, ImageRole, Manifest};
use crate::verity::digest;
use seal::field::{get, put};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Length of a chunk entry in bytes.
pub const CHUNK_ENTRY_LEN: usize = 64;
/// Length of a base range in bytes.
pub const BASE_RANGE_LEN: usize = 16;

/// How a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Zeroes; nothing is stored. May be as long as 4 MiB whatever the image's chunk size is.
    Zero,
    /// As it is, where compression does not pay.
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
    /// The word for the kind.
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

/// A chunk: a piece of an image, and where and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Which image it belongs to: a place in [`crate::Release::images`].
    pub image: usize,
    /// Where it begins in the image, in bytes: a multiple of 4096.
    pub offset: u64,
    /// Uncompressed length in bytes: a multiple of 4096, save in the last chunk of an image.
    pub len: u32,
    /// How it is stored.
    pub kind: ChunkKind,
    /// Bytes of the image directly before it that it builds upon, a multiple of 4096 within its
    /// run; 0 if it begins one.
    pub before: u32,
    /// Where its stored bytes begin in the payload, in bytes.
    pub payload_offset: u64,
    /// Stored length in bytes.
    pub stored_len: u32,
    /// SHA-256 of the uncompressed bytes, also of zeroes and repeats.
    pub sha256: [u8; 32],
    /// First half of the SHA-256 of the stored bytes; zero if there are none.
    pub stored_digest: [u8; 16],
}

/// A piece of the base release that a delta chunk builds upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseRange {
    /// The base image.
    pub role: ImageRole,
    /// Where it begins in that image, in bytes.
    pub offset: u64,
    /// Bytes, at least 1.
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

/// Why an index is refused. Chunks are numbered from 0 over the whole bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum IndexError {
    #[error("index is {found} bytes long, expected {expected}")]
    Length { found: u64, expected: u64 },
    #[error("chunk {chunk}: kind {kind} is not known")]
    Kind { chunk: usize, kind: u8 },
    #[error("chunk {chunk}: length {len}, expected 1 to {limit}")]
    ChunkLength { chunk: usize, len: u32, limit: u32 },
    #[error("chunk {chunk}: length {len} is not a multiple of 4096, and the image goes on")]
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
    #[error("chunk {chunk}: a {kind} chunk builds upon {before} bytes before it")]
    Before {
        chunk: usize,
        kind: &'static str,
        before: u32,
    },
    #[error(
        "chunk {chunk}: builds upon {before} bytes before it, expected a multiple of 4096 within the {run} of its run"
    )]
    Run { chunk: usize, before: u32, run: u32 },
    #[error("chunk {chunk}: ends a run of {len} bytes, at most {MAX_RUN_LEN}")]
    RunLength { chunk: usize, len: u32 },
    #[error("chunk {chunk}: digests do not fit a {kind} chunk")]
    Digests { chunk: usize, kind: &'static str },
    #[error(
        "chunk {chunk}: repeats chunk {of}, which is not an earlier chunk of the image with the same content"
    )]
    Repeat { chunk: usize, of: u32 },
    #[error("image {image}: chunks cover {covered} bytes of {size}")]
    Cover {
        image: ImageRole,
        covered: u64,
        size: u64,
    },
    #[error("chunks are stored in {chunks} bytes, the payload has {payload}")]
    Payload { chunks: u64, payload: u64 },
    #[error("base range {range} has data where it must be zero")]
    NotZero { range: usize },
    #[error("base range {range} lies outside the images of the base release")]
    BaseRange { range: usize },
    #[error("chunk {chunk}: prefix of {len} bytes, at most {limit}")]
    Prefix { chunk: usize, len: u64, limit: u64 },
    #[error("delta chunks use {used} base ranges, the index has {has}")]
    UnusedRanges { used: usize, has: usize },
}

impl Index {
    /// Length of an index with that many entries, or `None` if it does not fit. *Pure.*
    #[must_use]
    pub fn encoded_len(chunks: u64, ranges: u64) -> Option<u64> {
        let chunks = chunks.checked_mul(CHUNK_ENTRY_LEN as u64)?;
        chunks.checked_add(ranges.checked_mul(BASE_RANGE_LEN as u64)?)
    }

    /// The bytes of the index. *Pure.*
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

    /// Decodes an authenticated index and checks it against the manifest. *Pure.*
    ///
    /// # Errors
    /// The first [`IndexError`], from the front.
    pub fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, IndexError> {
        let expected =
            Self::encoded_len(manifest.index.chunks, manifest.index.ranges).unwrap_or(u64::MAX);
        if bytes.len() as u64 != expected {
            return Err(IndexError::Length {
                found: bytes.len() as u64,
                expected,
            });
        }
        let split = usize::try_from(manifest.index.chunks)
            .unwrap_or(usize::MAX)
            .saturating_mul(CHUNK_ENTRY_LEN);
        let (chunks, ranges) = bytes.split_at_checked(split).unwrap_or((bytes, &[]));
        let bases = manifest
            .base
            .as_ref()
            .map(|base| base.images.as_slice())
            .unwrap_or_default();
        let mut build = Builder {
            ranges: decode_ranges(ranges, bases)?,
            ..Builder::default()
        };
        let mut entries = chunks.chunks_exact(CHUNK_ENTRY_LEN);
        for (place, image) in manifest.images.iter().enumerate() {
            let count = usize::try_from(image.chunks).unwrap_or(usize::MAX);
            build.image(place, image, entries.by_ref().take(count))?;
        }
        build.finish(manifest.payload)
    }
}

#[derive(Default)]
struct Builder {
    chunks: Vec<ChunkEntry>,
    ranges: Vec<BaseRange>,
    ranges_used: usize,
    image_start: usize,
    /// Length of the run so far: that of the chunk before and those that it goes on with; 0 where
    /// none can go on.
    run: u32,
    payload: u64,
    /// Lengths of the zero chunks that occur, and the first chunk of each length with its digest.
    zeroes: BTreeMap<u32, (usize, [u8; 32])>,
}

impl Builder {
    fn image<'a>(
        &mut self,
        place: usize,
        image: &ImageInfo,
        entries: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), IndexError> {
        let mut offset = 0_u64;
        self.image_start = self.chunks.len();
        self.run = 0;
        for entry in entries {
            let chunk = self.chunks.len();
            if !offset.is_multiple_of(u64::from(BLOCK_LEN)) {
                let len = self.chunks.last().map_or(0, |chunk| chunk.len);
                return Err(IndexError::Unaligned {
                    chunk: chunk.saturating_sub(1),
                    len,
                });
            }
            let decoded = self.chunk(chunk, entry, image.chunk_size)?;
            let decoded = ChunkEntry {
                image: place,
                offset,
                payload_offset: self.payload,
                ..decoded
            };
            offset = offset.saturating_add(u64::from(decoded.len));
            self.payload = self.payload.saturating_add(u64::from(decoded.stored_len));
            self.run = match decoded {
                ChunkEntry { stored_len: 0, .. } => 0,
                ChunkEntry { before: 0, len, .. } => len,
                ChunkEntry { len, .. } => self.run.saturating_add(len),
            };
            self.chunks.push(decoded);
        }
        if offset == image.size {
            Ok(())
        } else {
            Err(IndexError::Cover {
                image: image.role,
                covered: offset,
                size: image.size,
            })
        }
    }

    fn chunk(
        &mut self,
        chunk: usize,
        entry: &[u8],
        chunk_size: u32,
    ) -> Result<ChunkEntry, IndexError> {
        let head = u32::from_le_bytes(get(entry, 0));
        let len = head >> 8;
        let stored_len = u32::from_le_bytes(get(entry, 4));
        let before = u32::from_le_bytes(get(entry, 8));
        let argument = u32::from_le_bytes(get(entry, 12));
        let (sha256, stored_digest) = (get::<32>(entry, 16), get::<16>(entry, 48));
        let kind = match (head & 0xff) as u8 {
            0 => ChunkKind::Zero,
            1 => ChunkKind::Raw,
            2 => ChunkKind::Zstd,
            3 => self.repeat(chunk, argument, len, &sha256)?,
            4 => self.delta(chunk, argument)?,
            kind => return Err(IndexError::Kind { chunk, kind }),
        };
        let limit = if kind == ChunkKind::Zero {
            MAX_CHUNK_LEN
        } else {
            chunk_size
        };
        if len == 0 || len > limit {
            return Err(IndexError::ChunkLength { chunk, len, limit });
        }
        if argument != 0 && matches!(kind, ChunkKind::Zero | ChunkKind::Raw | ChunkKind::Zstd) {
            return Err(IndexError::Argument {
                chunk,
                kind: kind.as_str(),
                argument,
            });
        }
        // Image and offsets are known to the caller.
        let (image, offset, payload_offset) = (0, 0, 0);
        let entry = ChunkEntry {
            image,
            offset,
            len,
            kind,
            before,
            payload_offset,
            stored_len,
            sha256,
            stored_digest,
        };
        self.check_stored(chunk, &entry)?;
        self.check_run(chunk, &entry)?;
        Ok(entry)
    }

    /// Stored length and digests are those of the kind.
    fn check_stored(&mut self, chunk: usize, entry: &ChunkEntry) -> Result<(), IndexError> {
        let ChunkEntry {
            len,
            kind,
            sha256,
            stored_digest,
            stored_len: stored,
            ..
        } = *entry;
        let (fits, digests_fit) = match kind {
            ChunkKind::Zero | ChunkKind::Repeat { .. } => (stored == 0, stored_digest == [0; 16]),
            ChunkKind::Raw => (stored == len, sha256.starts_with(&stored_digest)),
            ChunkKind::Zstd | ChunkKind::Delta { .. } => (stored > 0 && stored < len, true),
        };
        if !fits {
            return Err(IndexError::StoredLength {
                chunk,
                kind: kind.as_str(),
                stored,
                len,
            });
        }
        let known =
            (kind == ChunkKind::Zero).then(|| *self.zeroes.entry(len).or_insert((chunk, sha256)));
        if !digests_fit || known.is_some_and(|(_, known)| known != sha256) {
            return Err(IndexError::Digests {
                chunk,
                kind: kind.as_str(),
            });
        }
        Ok(())
    }

    /// A chunk begins a run, or goes on with that of the chunk before it.
    fn check_run(&self, chunk: usize, entry: &ChunkEntry) -> Result<(), IndexError> {
        let before = entry.before;
        if before == 0 {
            return Ok(());
        }
        if entry.stored_len == 0 {
            return Err(IndexError::Before {
                chunk,
                kind: entry.kind.as_str(),
                before,
            });
        }
        let run = self.run;
        if before > run || !before.is_multiple_of(BLOCK_LEN) {
            return Err(IndexError::Run { chunk, before, run });
        }
        let len = run.saturating_add(entry.len);
        if len > MAX_RUN_LEN {
            return Err(IndexError::RunLength { chunk, len });
        }
        Ok(())
    }

    fn repeat(
        &self,
        chunk: usize,
        of: u32,
        len: u32,
        sha256: &[u8; 32],
    ) -> Result<ChunkKind, IndexError> {
        let earlier = usize::try_from(of)
            .ok()
            .filter(|earlier| *earlier >= self.image_start);
        let same = earlier
            .and_then(|earlier| self.chunks.get(earlier))
            .is_some_and(|earlier| {
                earlier.stored_len > 0 && earlier.len == len && earlier.sha256 == *sha256
            });
        match earlier {
            Some(earlier) if same => Ok(ChunkKind::Repeat { chunk: earlier }),
            _ => Err(IndexError::Repeat { chunk, of }),
        }
    }

    fn delta(&mut self, chunk: usize, argument: u32) -> Result<ChunkKind, IndexError> {
        let has = self.ranges.len();
        let first_range = self.ranges_used;
        let ranges = usize::try_from(argument).unwrap_or(usize::MAX);
        let used = first_range.saturating_add(ranges);
        let Some(own) = self.ranges.get(first_range..used) else {
            return Err(IndexError::UnusedRanges { used, has });
        };
        let len = own
            .iter()
            .fold(0_u64, |sum, range| sum.saturating_add(u64::from(range.len)));
        if len == 0 || len > MAX_PREFIX_LEN {
            return Err(IndexError::Prefix {
                chunk,
                len,
                limit: MAX_PREFIX_LEN,
            });
        }
        self.ranges_used = used;
        Ok(ChunkKind::Delta {
            first_range,
            ranges,
        })
    }

    fn finish(self, payload: u64) -> Result<Index, IndexError> {
        if self.payload != payload {
            return Err(IndexError::Payload {
                chunks: self.payload,
                payload,
            });
        }
        if self.ranges_used != self.ranges.len() {
            return Err(IndexError::UnusedRanges {
                used: self.ranges_used,
                has: self.ranges.len(),
            });
        }
        let digests = zero_digests(self.zeroes.keys().copied().collect());
        for (len, (chunk, sha256)) in self.zeroes {
            if digests.get(&len) != Some(&sha256) {
                return Err(IndexError::Digests {
                    chunk,
                    kind: ChunkKind::Zero.as_str(),
                });
            }
        }
        Ok(Index {
            chunks: self.chunks,
            ranges: self.ranges,
        })
    }
}

fn decode_ranges(bytes: &[u8], bases: &[BaseImage]) -> Result<Vec<BaseRange>, IndexError> {
    let mut ranges = Vec::new();
    for (range, entry) in bytes.chunks_exact(BASE_RANGE_LEN).enumerate() {
        let [code, zeroes @ ..] = get::<4>(entry, 0);
        if zeroes != [0; 3] {
            return Err(IndexError::NotZero { range });
        }
        let (len, offset) = (
            u32::from_le_bytes(get(entry, 4)),
            u64::from_le_bytes(get(entry, 8)),
        );
        let role = ImageRole::from_code(code).filter(|_| len > 0);
        let inside = role.and_then(|role| {
            let base = bases.iter().find(|base| base.role == role)?;
            (offset.checked_add(u64::from(len))? <= base.size).then_some(role)
        });
        let role = inside.ok_or(IndexError::BaseRange { range })?;
        ranges.push(BaseRange { role, offset, len });
    }
    Ok(ranges)
}

/// Digests of chunks of zeroes of each of these lengths. *Pure*; hashes no more than the longest of
/// them, once.
#[must_use]
pub fn zero_digests(lengths: BTreeSet<u32>) -> BTreeMap<u32, [u8; 32]> {
    let mut hash = Sha256::new();
    let mut hashed = 0_u32;
    let mut digests = BTreeMap::new();
    for len in lengths {
        let blocks = len.div_ceil(BLOCK_LEN);
        while hashed < blocks {
            hash.update(*digest::ZERO_BLOCK);
            hashed = hashed.saturating_add(1);
        }
        digests.insert(len, hash.clone().finalize().into());
    }
    digests
}
