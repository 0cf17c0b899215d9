//! The tree, from block hashes in any order.

use super::digest::{Hash, ZERO_BLOCK, block_hash};
use super::layout::{BLOCK, HASHES_PER_BLOCK, Layout};

/// Bytes of a hash.
const HASH: usize = 32;
/// Hashes that are gathered before they are handed out: those below one block of level 1, so that
/// 64 MiB of image become 512 KiB of tree in one piece.
const UNIT: u64 = HASHES_PER_BLOCK * HASHES_PER_BLOCK;

/// Builds the tree over an image. *Pure.*
///
/// Hashes of blocks come in any order, and more than once. Level 0 is handed out in units of 512
/// KiB as soon as one is complete, and is then forgotten; its hashes (64 KiB for each GiB of image)
/// are kept. So memory is bounded by the units that are begun: 512 KiB for each 64 MiB of image
/// from which some blocks are known and others are not, at most 8 MiB for each GiB of image.
pub struct TreeBuilder {
    layout: Layout,
    units: Vec<Unit>,
    /// Hashes of the blocks of level 0.
    above: Vec<Hash>,
}

enum Unit {
    Untouched,
    Begun(Box<Begun>),
    Complete,
}

struct Begun {
    hashes: Vec<u8>,
    known: Vec<bool>,
    left: usize,
}

/// A piece of what follows the image, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePiece {
    /// Where, in bytes from the beginning of the partition: a multiple of 4096.
    pub offset: u64,
    /// The bytes, whole blocks.
    pub bytes: Vec<u8>,
}

/// The hash of a block never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no hash is known of block {0}")]
pub struct MissingBlock(pub u64);

impl TreeBuilder {
    /// Returns a builder that knows no block yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let blocks = layout.data_blocks();
        let units = (0..blocks.div_ceil(UNIT)).map(|_| Unit::Untouched);
        Self {
            units: units.collect(),
            above: vec![[0; HASH]; blocks.div_ceil(HASHES_PER_BLOCK) as usize],
            layout,
        }
    }

    /// The layout.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes the hashes of neighbouring blocks, of which `first` is the first. Returns the pieces
    /// of the tree that became complete. Of a block that is known already nothing changes.
    pub fn insert(&mut self, first: u64, hashes: &[Hash]) -> Vec<TreePiece> {
        let mut pieces = Vec::new();
        let (mut at, mut left) = (first, hashes);
        while !left.is_empty() && at < self.layout.data_blocks() {
            let in_unit = ((UNIT - at % UNIT) as usize).min(left.len());
            let (own, rest) = left.split_at(in_unit);
            pieces.extend(self.insert_in_unit(at, own));
            (at, left) = (at + in_unit as u64, rest);
        }
        pieces
    }

    /// Takes `count` neighbouring blocks of zeroes. Returns the pieces that became complete.
    pub fn insert_zeroes(&mut self, first: u64, count: u64) -> Vec<TreePiece> {
        let zeroes = [*ZERO_BLOCK; HASHES_PER_BLOCK as usize];
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < count {
            let step = (count - done).min(HASHES_PER_BLOCK);
            pieces.extend(self.insert(first + done, &zeroes[..step as usize]));
            done += step;
        }
        pieces
    }

    fn insert_in_unit(&mut self, first: u64, hashes: &[Hash]) -> Option<TreePiece> {
        let number = first / UNIT;
        let blocks = (self.layout.data_blocks() - number * UNIT).min(UNIT);
        let unit = &mut self.units[number as usize];
        let begun = match unit {
            Unit::Complete => return None,
            Unit::Begun(begun) => begun,
            Unit::Untouched => {
                let bytes = (blocks.div_ceil(HASHES_PER_BLOCK) * BLOCK) as usize;
                *unit = Unit::Begun(Box::new(Begun {
                    hashes: vec![0; bytes],
                    known: vec![false; blocks as usize],
                    left: blocks as usize,
                }));
                match unit {
                    Unit::Begun(begun) => begun,
                    Unit::Untouched | Unit::Complete => return None,
                }
            }
        };
        let start = (first % UNIT) as usize;
        for (at, hash) in (start..blocks as usize).zip(hashes) {
            if !std::mem::replace(&mut begun.known[at], true) {
                begun.hashes[at * HASH..][..HASH].copy_from_slice(hash);
                begun.left -= 1;
            }
        }
        if begun.left > 0 {
            return None;
        }
        let bytes = std::mem::take(&mut begun.hashes);
        *unit = Unit::Complete;
        let above = &mut self.above[(number * HASHES_PER_BLOCK) as usize..];
        if self.layout.levels() == 0 {
            // The hash of the only block is the root hash itself, and stands in no block.
            above[0].copy_from_slice(&bytes[..HASH]);
            return None;
        }
        for (above, block) in above.iter_mut().zip(bytes.chunks(BLOCK as usize)) {
            *above = block_hash(block);
        }
        let offset = self.layout.level(0).start + number * HASHES_PER_BLOCK * BLOCK;
        Some(TreePiece { offset, bytes })
    }

    /// Returns what is left of the tree, superblock included, and the root hash.
    ///
    /// # Errors
    /// [`MissingBlock`], the first one whose hash is not known.
    pub fn finish(self) -> Result<(TreePiece, Hash), MissingBlock> {
        for (number, unit) in self.units.iter().enumerate() {
            let missing = match unit {
                Unit::Complete => continue,
                Unit::Untouched => 0,
                Unit::Begun(begun) => begun.known.iter().take_while(|known| **known).count(),
            };
            return Err(MissingBlock(number as u64 * UNIT + missing as u64));
        }
        let mut hashes = self.above;
        let start = self.layout.superblock_offset();
        let mut bytes = self.layout.superblock();
        bytes.resize((self.layout.level(0).start - start) as usize, 0);
        for level in 1..self.layout.levels() {
            let at = self.layout.level(level);
            let own = &mut bytes[(at.start - start) as usize..(at.end - start) as usize];
            let flat = hashes.as_flattened();
            own[..flat.len()].copy_from_slice(flat);
            hashes = own.chunks(BLOCK as usize).map(block_hash).collect();
        }
        let piece = TreePiece {
            offset: start,
            bytes,
        };
        // An empty image has no block: then there is nothing that could be asked for.
        Ok((piece, hashes.first().copied().unwrap_or_default()))
    }
}
