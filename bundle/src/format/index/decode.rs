//! Decoding of the index: every entry is checked against its kind, its run and the manifest.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::index::{
    BASE_RANGE_LEN, BaseRange, CHUNK_ENTRY_LEN, ChunkEntry, ChunkKind, Index, IndexError,
};
use crate::format::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_PREFIX_LEN, MAX_RUN_LEN};
use crate::format::manifest::{BaseImage, ImageInfo, ImageRole, Manifest};
use crate::format::zeroes::zero_digests;
use seal::field::get;
use std::collections::BTreeMap;

impl Index {
    /// Decodes an authenticated index and checks it against the manifest. *Pure.*
    ///
    /// # Errors
    /// The first [`IndexError`] from the front.
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
        let mut decoder = IndexDecoder {
            ranges: decode_ranges(ranges, bases)?,
            ..IndexDecoder::default()
        };
        let mut entries = chunks.chunks_exact(CHUNK_ENTRY_LEN);
        for (number, image) in manifest.images.iter().enumerate() {
            let count = usize::try_from(image.chunks).unwrap_or(usize::MAX);
            decoder.image(number, image, entries.by_ref().take(count))?;
        }
        decoder.finish(manifest.payload)
    }
}

/// The index as far as it has been decoded.
#[derive(Default)]
struct IndexDecoder {
    chunks: Vec<ChunkEntry>,
    ranges: Vec<BaseRange>,
    ranges_used: usize,
    /// Number of the first chunk of the image.
    image_start: usize,
    /// Length of the run that ends with the last chunk; 0 if the next chunk cannot continue it.
    run: u32,
    payload: u64,
    /// The first zero chunk of each length.
    zeroes: BTreeMap<u32, ZeroChunk>,
}

#[derive(Clone, Copy)]
struct ZeroChunk {
    chunk: usize,
    sha256: [u8; 32],
}

impl IndexDecoder {
    fn image<'a>(
        &mut self,
        number: usize,
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
                image: number,
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
        // The caller fills in image and offsets.
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

    /// Checks stored length and digests against the kind.
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
        let zeroes_fit = kind != ChunkKind::Zero
            || self
                .zeroes
                .entry(len)
                .or_insert(ZeroChunk { chunk, sha256 })
                .sha256
                == sha256;
        if !digests_fit || !zeroes_fit {
            return Err(IndexError::Digests {
                chunk,
                kind: kind.as_str(),
            });
        }
        Ok(())
    }

    /// Checks that a chunk begins a run, or continues that of the chunk before it.
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
        for (len, first) in self.zeroes {
            if digests.get(&len) != Some(&first.sha256) {
                return Err(IndexError::Digests {
                    chunk: first.chunk,
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
