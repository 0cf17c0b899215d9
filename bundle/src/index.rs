//! The chunk index: one entry of fixed width for every frame, then the base ranges of delta frames.
//!
//! ```text
//! frame entry, 64 bytes, little-endian
//! offset  bytes  what
//!      0      1  kind: 0 zero, 1 raw, 2 zstd, 3 repeat, 4 delta
//!      1      3  length, uncompressed: 1 byte to 4 MiB
//!      4      4  stored length: 0 for zero and repeat, the length for raw, else 1 to the length less 1
//!      8      4  bytes directly before it that it builds upon, a multiple of 4096 within its run; 0 for zero, repeat and the first of a run
//!     12      4  argument: repeat: number of the earlier frame, counted over the bundle; delta: number of its base ranges; else 0
//!     16     32  SHA-256 of the uncompressed bytes
//!     48     16  first half of the SHA-256 of the stored bytes: zero for zero and repeat, of the same as the other for raw
//! base range, 16 bytes
//!      0      1  role of the base image: 1 boot, 2 root, 3 recovery, 4 guard
//!      1      3  zero
//!      4      4  length, at least 1
//!      8      8  offset in the base image
//! ```
//! Where a frame lies is not stored but follows from the entries before it, so that frames can
//! neither overlap nor leave a gap. Base ranges belong to delta frames in their order.
//!
//! A *run* is a stretch of frames with stored bytes, of which each but the first builds upon bytes
//! of the run before it, so that small frames compress like large ones.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::limits::{BLOCK_LEN, MAX_FRAME_LEN, MAX_PREFIX_LEN, MAX_RUN_LEN};
use crate::manifest::{BaseImage, ImageInfo, ImageRole, Manifest};
use seal::field::{get, put};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Length of a frame entry in bytes.
pub const FRAME_ENTRY_LEN: usize = 64;
/// Length of a base range in bytes.
pub const BASE_RANGE_LEN: usize = 16;

/// How a frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Zeroes; nothing is stored. May be as long as 4 MiB whatever the image's frame size is.
    Zero,
    /// As it is, where compression does not pay.
    Raw,
    /// One zstd frame.
    Zstd,
    /// The same bytes as an earlier frame of the same image, which is neither zero nor a repeat;
    /// nothing is stored.
    Repeat {
        /// Number of the earlier frame.
        frame: usize,
    },
    /// One zstd frame whose prefix is made of ranges of the base release's images.
    Delta {
        /// Number of its first base range.
        first_range: usize,
        /// Number of its base ranges, at least 1.
        ranges: usize,
    },
}

impl FrameKind {
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

/// A frame: a piece of an image, and where and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Which image it belongs to: a place in [`crate::Release::images`].
    pub image: usize,
    /// Where it begins in the image, in bytes: a multiple of 4096.
    pub offset: u64,
    /// Uncompressed length in bytes: a multiple of 4096, save in the last frame of an image.
    pub len: u32,
    /// How it is stored.
    pub kind: FrameKind,
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

/// A piece of the base release that a delta frame builds upon.
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
    /// The frames, in payload order.
    pub frames: Vec<FrameEntry>,
    /// The base ranges, in the order of the delta frames that use them.
    pub ranges: Vec<BaseRange>,
}

/// Why an index is refused. Frames are numbered from 0 over the whole bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum IndexError {
    #[error("index is {found} bytes long, expected {expected}")]
    Length { found: u64, expected: u64 },
    #[error("frame {frame}: kind {kind} is not known")]
    Kind { frame: usize, kind: u8 },
    #[error("frame {frame}: length {len}, expected 1 to {limit}")]
    FrameLength { frame: usize, len: u32, limit: u32 },
    #[error("frame {frame}: length {len} is not a multiple of 4096, and the image goes on")]
    Unaligned { frame: usize, len: u32 },
    #[error("frame {frame}: stored length {stored} does not fit a {kind} frame of {len} bytes")]
    StoredLength {
        frame: usize,
        kind: &'static str,
        stored: u32,
        len: u32,
    },
    #[error("frame {frame}: a {kind} frame has argument {argument}")]
    Argument {
        frame: usize,
        kind: &'static str,
        argument: u32,
    },
    #[error("frame {frame}: a {kind} frame builds upon {before} bytes before it")]
    Before {
        frame: usize,
        kind: &'static str,
        before: u32,
    },
    #[error(
        "frame {frame}: builds upon {before} bytes before it, expected a multiple of 4096 within the {run} of its run"
    )]
    Run { frame: usize, before: u32, run: u32 },
    #[error("frame {frame}: ends a run of {len} bytes, at most {MAX_RUN_LEN}")]
    RunLength { frame: usize, len: u32 },
    #[error("frame {frame}: digests do not fit a {kind} frame")]
    Digests { frame: usize, kind: &'static str },
    #[error(
        "frame {frame}: repeats frame {of}, which is not an earlier frame of the image with the same content"
    )]
    Repeat { frame: usize, of: u32 },
    #[error("image {image}: frames cover {covered} bytes of {size}")]
    Cover {
        image: ImageRole,
        covered: u64,
        size: u64,
    },
    #[error("frames are stored in {frames} bytes, the payload has {payload}")]
    Payload { frames: u64, payload: u64 },
    #[error("base range {range} has data where it must be zero")]
    NotZero { range: usize },
    #[error("base range {range} lies outside the images of the base release")]
    BaseRange { range: usize },
    #[error("frame {frame}: prefix of {len} bytes, at most {limit}")]
    Prefix { frame: usize, len: u64, limit: u64 },
    #[error("delta frames use {used} base ranges, the index has {has}")]
    UnusedRanges { used: usize, has: usize },
}

impl Index {
    /// Length of an index with that many entries, or `None` if it does not fit. *Pure.*
    #[must_use]
    pub fn encoded_len(frames: u64, ranges: u64) -> Option<u64> {
        let frames = frames.checked_mul(FRAME_ENTRY_LEN as u64)?;
        frames.checked_add(ranges.checked_mul(BASE_RANGE_LEN as u64)?)
    }

    /// The bytes of the index. *Pure.*
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in &self.frames {
            let mut entry = [0; FRAME_ENTRY_LEN];
            let (kind, argument) = match frame.kind {
                FrameKind::Zero => (0, 0),
                FrameKind::Raw => (1, 0),
                FrameKind::Zstd => (2, 0),
                // Both are bounded by far less than 2^32: MAX_FRAMES, MAX_BASE_RANGES.
                FrameKind::Repeat { frame } => (3, frame as u32),
                FrameKind::Delta { ranges, .. } => (4, ranges as u32),
            };
            put(&mut entry, 0, &(frame.len << 8 | kind).to_le_bytes());
            put(&mut entry, 4, &frame.stored_len.to_le_bytes());
            put(&mut entry, 8, &frame.before.to_le_bytes());
            put(&mut entry, 12, &argument.to_le_bytes());
            put(&mut entry, 16, &frame.sha256);
            put(&mut entry, 48, &frame.stored_digest);
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
            Self::encoded_len(manifest.index.frames, manifest.index.ranges).unwrap_or(u64::MAX);
        if bytes.len() as u64 != expected {
            return Err(IndexError::Length {
                found: bytes.len() as u64,
                expected,
            });
        }
        let split = usize::try_from(manifest.index.frames)
            .unwrap_or(usize::MAX)
            .saturating_mul(FRAME_ENTRY_LEN);
        let (frames, ranges) = bytes.split_at_checked(split).unwrap_or((bytes, &[]));
        let bases = manifest
            .base
            .as_ref()
            .map(|base| base.images.as_slice())
            .unwrap_or_default();
        let mut build = Builder {
            ranges: decode_ranges(ranges, bases)?,
            ..Builder::default()
        };
        let mut entries = frames.chunks_exact(FRAME_ENTRY_LEN);
        for (place, image) in manifest.images.iter().enumerate() {
            let count = usize::try_from(image.frames).unwrap_or(usize::MAX);
            build.image(place, image, entries.by_ref().take(count))?;
        }
        build.finish(manifest.payload)
    }
}

#[derive(Default)]
struct Builder {
    frames: Vec<FrameEntry>,
    ranges: Vec<BaseRange>,
    ranges_used: usize,
    image_start: usize,
    /// Length of the run so far: that of the frame before and those that it goes on with; 0 where
    /// none can go on.
    run: u32,
    payload: u64,
    /// Lengths of the zero frames that occur, and the first frame of each length with its digest.
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
        self.image_start = self.frames.len();
        self.run = 0;
        for entry in entries {
            let frame = self.frames.len();
            if !offset.is_multiple_of(u64::from(BLOCK_LEN)) {
                let len = self.frames.last().map_or(0, |frame| frame.len);
                return Err(IndexError::Unaligned {
                    frame: frame.saturating_sub(1),
                    len,
                });
            }
            let decoded = self.frame(frame, entry, image.frame_size)?;
            let decoded = FrameEntry {
                image: place,
                offset,
                payload_offset: self.payload,
                ..decoded
            };
            offset = offset.saturating_add(u64::from(decoded.len));
            self.payload = self.payload.saturating_add(u64::from(decoded.stored_len));
            self.run = match decoded {
                FrameEntry { stored_len: 0, .. } => 0,
                FrameEntry { before: 0, len, .. } => len,
                FrameEntry { len, .. } => self.run.saturating_add(len),
            };
            self.frames.push(decoded);
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

    fn frame(
        &mut self,
        frame: usize,
        entry: &[u8],
        frame_size: u32,
    ) -> Result<FrameEntry, IndexError> {
        let head = u32::from_le_bytes(get(entry, 0));
        let len = head >> 8;
        let stored_len = u32::from_le_bytes(get(entry, 4));
        let before = u32::from_le_bytes(get(entry, 8));
        let argument = u32::from_le_bytes(get(entry, 12));
        let (sha256, stored_digest) = (get::<32>(entry, 16), get::<16>(entry, 48));
        let kind = match (head & 0xff) as u8 {
            0 => FrameKind::Zero,
            1 => FrameKind::Raw,
            2 => FrameKind::Zstd,
            3 => self.repeat(frame, argument, len, &sha256)?,
            4 => self.delta(frame, argument)?,
            kind => return Err(IndexError::Kind { frame, kind }),
        };
        let limit = if kind == FrameKind::Zero {
            MAX_FRAME_LEN
        } else {
            frame_size
        };
        if len == 0 || len > limit {
            return Err(IndexError::FrameLength { frame, len, limit });
        }
        if argument != 0 && matches!(kind, FrameKind::Zero | FrameKind::Raw | FrameKind::Zstd) {
            return Err(IndexError::Argument {
                frame,
                kind: kind.as_str(),
                argument,
            });
        }
        // Image and offsets are known to the caller.
        let (image, offset, payload_offset) = (0, 0, 0);
        let entry = FrameEntry {
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
        self.check_stored(frame, &entry)?;
        self.check_run(frame, &entry)?;
        Ok(entry)
    }

    /// Stored length and digests are those of the kind.
    fn check_stored(&mut self, frame: usize, entry: &FrameEntry) -> Result<(), IndexError> {
        let FrameEntry {
            len,
            kind,
            sha256,
            stored_digest,
            stored_len: stored,
            ..
        } = *entry;
        let (fits, digests_fit) = match kind {
            FrameKind::Zero | FrameKind::Repeat { .. } => (stored == 0, stored_digest == [0; 16]),
            FrameKind::Raw => (stored == len, sha256.starts_with(&stored_digest)),
            FrameKind::Zstd | FrameKind::Delta { .. } => (stored > 0 && stored < len, true),
        };
        if !fits {
            return Err(IndexError::StoredLength {
                frame,
                kind: kind.as_str(),
                stored,
                len,
            });
        }
        let known =
            (kind == FrameKind::Zero).then(|| *self.zeroes.entry(len).or_insert((frame, sha256)));
        if !digests_fit || known.is_some_and(|(_, known)| known != sha256) {
            return Err(IndexError::Digests {
                frame,
                kind: kind.as_str(),
            });
        }
        Ok(())
    }

    /// A frame begins a run, or goes on with that of the frame before it.
    fn check_run(&self, frame: usize, entry: &FrameEntry) -> Result<(), IndexError> {
        let before = entry.before;
        if before == 0 {
            return Ok(());
        }
        if entry.stored_len == 0 {
            return Err(IndexError::Before {
                frame,
                kind: entry.kind.as_str(),
                before,
            });
        }
        let run = self.run;
        if before > run || !before.is_multiple_of(BLOCK_LEN) {
            return Err(IndexError::Run { frame, before, run });
        }
        let len = run.saturating_add(entry.len);
        if len > MAX_RUN_LEN {
            return Err(IndexError::RunLength { frame, len });
        }
        Ok(())
    }

    fn repeat(
        &self,
        frame: usize,
        of: u32,
        len: u32,
        sha256: &[u8; 32],
    ) -> Result<FrameKind, IndexError> {
        let earlier = usize::try_from(of)
            .ok()
            .filter(|earlier| *earlier >= self.image_start);
        let same = earlier
            .and_then(|earlier| self.frames.get(earlier))
            .is_some_and(|earlier| {
                earlier.stored_len > 0 && earlier.len == len && earlier.sha256 == *sha256
            });
        match earlier {
            Some(earlier) if same => Ok(FrameKind::Repeat { frame: earlier }),
            _ => Err(IndexError::Repeat { frame, of }),
        }
    }

    fn delta(&mut self, frame: usize, argument: u32) -> Result<FrameKind, IndexError> {
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
                frame,
                len,
                limit: MAX_PREFIX_LEN,
            });
        }
        self.ranges_used = used;
        Ok(FrameKind::Delta {
            first_range,
            ranges,
        })
    }

    fn finish(self, payload: u64) -> Result<Index, IndexError> {
        if self.payload != payload {
            return Err(IndexError::Payload {
                frames: self.payload,
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
        for (len, (frame, sha256)) in self.zeroes {
            if digests.get(&len) != Some(&sha256) {
                return Err(IndexError::Digests {
                    frame,
                    kind: FrameKind::Zero.as_str(),
                });
            }
        }
        Ok(Index {
            frames: self.frames,
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

/// SHA-256 of zeroes of each of these lengths. *Pure*; hashes no more than the longest of them,
/// once.
#[must_use]
pub fn zero_digests(lengths: BTreeSet<u32>) -> BTreeMap<u32, [u8; 32]> {
    let zeroes = [0; BLOCK_LEN as usize];
    let mut hash = Sha256::new();
    let mut hashed = 0_u32;
    let mut digests = BTreeMap::new();
    for len in lengths {
        while hashed < len {
            let step = BLOCK_LEN.min(len.saturating_sub(hashed));
            hash.update(zeroes.get(..step as usize).unwrap_or_default());
            hashed = hashed.saturating_add(step);
        }
        digests.insert(len, hash.clone().finalize().into());
    }
    digests
}
