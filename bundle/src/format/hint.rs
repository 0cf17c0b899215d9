//! Block hints: short hashes by which a machine finds blocks of a release among those on its disks.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::index::ChunkEntry;
use crate::format::limits::{BLOCK_LEN, HINT_LEN};
use seal::field::get;
use twox_hash::XxHash3_64;

const LEN: usize = HINT_LEN as usize;
/// The bits of a hash that a hint keeps.
const MASK: u64 = (1 << (8 * LEN)) - 1;

/// Returns the hint of a block of 4096 bytes, or of the shorter one at the end of an image: the low
/// 40 bits of its XXH3-64 with seed 0. *Pure.*
#[must_use]
pub fn block_hint(block: &[u8]) -> u64 {
    XxHash3_64::oneshot(block) & MASK
}

/// Decodes block hints, in order. *Pure.*
pub fn hints_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (hints, _) = bytes.as_chunks::<LEN>();
    hints
        .iter()
        .map(|[a, b, c, d, e]| u64::from_le_bytes([*a, *b, *c, *d, *e, 0, 0, 0]))
}

/// Returns the encoded hints of the blocks of `data`. *Pure.*
pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
    let mut hints = Vec::new();
    for block in data.chunks(BLOCK_LEN as usize) {
        hints.extend_from_slice(&get::<LEN>(&block_hint(block).to_le_bytes(), 0));
    }
    hints
}

/// Returns how many block hints a chunk has: one for each 4096 bytes or part of them, none if
/// nothing is stored for the chunk. *Pure.*
#[must_use]
pub fn hint_count(chunk: &ChunkEntry) -> u64 {
    if chunk.stored_len == 0 {
        0
    } else {
        u64::from(chunk.len.div_ceil(BLOCK_LEN))
    }
}

/// Returns the length of the hints of these chunks, in bytes. *Pure.*
pub(crate) fn hints_len(chunks: &[ChunkEntry]) -> u64 {
    chunks.iter().fold(0_u64, |sum, chunk| {
        sum.saturating_add(hint_count(chunk).saturating_mul(HINT_LEN))
    })
}
