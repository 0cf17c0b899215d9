//! Where image, superblock and tree are in a partition.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::ops::Range;

/// Bytes of a data block and of a hash block.
pub const BLOCK: u64 = seal::VERITY_BLOCK;
/// Hashes in a hash block.
pub const HASHES_PER_BLOCK: u64 = 128;

/// Where a verified image and its tree are in a partition: the image, zeroes up to a multiple of
/// 4096, dm-verity's superblock in a block of its own, and the levels of the tree from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    image_len: u64,
    /// Blocks of each level, level 0 first.
    levels: Vec<u64>,
}

impl Layout {
    /// Returns the layout for an image of so many bytes. *Pure.*
    #[must_use]
    pub fn new(image_len: u64) -> Self {
        let mut levels = Vec::new();
        let mut below = image_len.div_ceil(BLOCK);
        while below > 1 {
            below = below.div_ceil(HASHES_PER_BLOCK);
            levels.push(below);
        }
        Self { image_len, levels }
    }

    /// Bytes of the image.
    #[must_use]
    pub const fn image_len(&self) -> u64 {
        self.image_len
    }

    /// Blocks of the image; the last one may be filled up with zeroes.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.image_len.div_ceil(BLOCK)
    }

    /// Where the superblock begins, in bytes: what veritysetup calls the hash offset.
    #[must_use]
    pub const fn superblock_offset(&self) -> u64 {
        self.data_blocks().saturating_mul(BLOCK)
    }

    /// Levels of the tree. An image of one block has none: the block's hash is the root hash.
    #[must_use]
    pub const fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Offset of a level, in bytes from the beginning of the partition; level 0 holds the hashes
    /// of the image's blocks and comes last. Empty for a level that is not there.
    #[must_use]
    pub fn level(&self, level: usize) -> Range<u64> {
        let above = self.levels.iter().skip(level.saturating_add(1));
        let above = above.fold(1_u64, |sum, blocks| sum.saturating_add(*blocks));
        let start = above
            .saturating_mul(BLOCK)
            .saturating_add(self.superblock_offset());
        let blocks = self.levels.get(level).copied().unwrap_or(0);
        start..start.saturating_add(blocks.saturating_mul(BLOCK))
    }

    /// Bytes of image, zeroes, superblock and tree together.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        let blocks = self
            .levels
            .iter()
            .fold(1_u64, |sum, blocks| sum.saturating_add(*blocks));
        blocks
            .saturating_mul(BLOCK)
            .saturating_add(self.superblock_offset())
    }

    /// Returns the superblock, filled up to a whole block: `struct verity_sb` of cryptsetup, with a
    /// UUID of zeroes. *Pure.* The kernel does not need it; tools do.
    #[must_use]
    pub fn superblock(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        let mut put = |at: usize, bytes: &[u8]| seal::field::put(&mut block, at, bytes);
        put(0, b"verity\0\0");
        // Version of the superblock, and hash type 1.
        put(8, &1_u32.to_le_bytes());
        put(12, &1_u32.to_le_bytes());
        put(32, b"sha256");
        put(64, &(BLOCK as u32).to_le_bytes());
        put(68, &(BLOCK as u32).to_le_bytes());
        put(72, &self.data_blocks().to_le_bytes());
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_superblock_from_the_top() {
        let layout = Layout::new(129 * BLOCK - 1);
        assert_eq!(layout.data_blocks(), 129);
        assert_eq!(layout.superblock_offset(), 129 * BLOCK);
        assert_eq!(layout.levels(), 2);
        assert_eq!(layout.level(1), 130 * BLOCK..131 * BLOCK);
        assert_eq!(layout.level(0), 131 * BLOCK..133 * BLOCK);
        assert_eq!(layout.total_len(), 133 * BLOCK);
        assert!(layout.level(2).is_empty());
    }

    #[test]
    fn one_block_has_no_tree() {
        for len in [1, BLOCK] {
            let layout = Layout::new(len);
            assert_eq!((layout.levels(), layout.total_len()), (0, 2 * BLOCK));
        }
        assert_eq!(Layout::new(BLOCK + 1).levels(), 1);
        assert_eq!(Layout::new(128 * BLOCK).levels(), 1);
    }

    #[test]
    fn no_length_overflows() {
        let layout = Layout::new(u64::MAX);
        assert!(layout.total_len() >= layout.level(0).start);
    }
}
