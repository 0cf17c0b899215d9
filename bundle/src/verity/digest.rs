//! Hash of a block, and digest of a chunk: the hash of its blocks' hashes.
//!
//! Bytes are hashed once: the digest by which a chunk is verified is made of the same hashes that
//! the tree over the image begins with.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::layout::BLOCK;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// SHA-256.
pub type Hash = [u8; 32];

static ZEROES: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// The hash of a block of zeroes.
pub static ZERO_BLOCK: LazyLock<Hash> = LazyLock::new(|| Sha256::digest(ZEROES).into());

/// Returns the SHA-256 of at most 4096 bytes, filled up with zeroes to 4096. *Pure.*
#[must_use]
pub fn block_hash(bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new_with_prefix(bytes);
    if let Some(rest) = ZEROES.get(bytes.len()..) {
        hash.update(rest);
    }
    hash.finalize().into()
}

/// Returns the hashes of the blocks of `bytes`, the last block filled up with zeroes. *Pure.*
pub fn block_hashes(bytes: &[u8]) -> impl Iterator<Item = Hash> + '_ {
    bytes.chunks(BLOCK as usize).map(block_hash)
}

/// Returns the digest of a chunk with these blocks: the SHA-256 of their hashes, one behind the
/// other. *Pure.*
#[must_use]
pub fn digest_of_hashes(blocks: &[Hash]) -> Hash {
    Sha256::digest(blocks.as_flattened()).into()
}

/// Returns the digest of a chunk with these bytes. *Pure.*
#[must_use]
pub fn digest(bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    block_hashes(bytes).for_each(|block| hash.update(block));
    hash.finalize().into()
}

/// Returns the digest of a chunk with these bytes, and puts the hashes of its blocks into `blocks`
/// in place of what was there. *Pure.*
pub fn digest_into(bytes: &[u8], blocks: &mut Vec<Hash>) -> Hash {
    blocks.clear();
    blocks.extend(block_hashes(bytes));
    digest_of_hashes(blocks)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_last_block_is_as_if_zeroes_followed() {
        let mut whole = vec![7; 5000];
        let short = digest(&whole);
        whole.resize(8192, 0);
        assert_eq!(digest(&whole), short);
        whole[8191] = 1;
        assert_ne!(digest(&whole), short);
    }

    #[test]
    fn a_digest_is_made_of_the_hashes_of_blocks() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8).collect();
        let mut blocks = vec![[9; 32]];
        assert_eq!(digest_into(&bytes, &mut blocks), digest(&bytes));
        assert_eq!(blocks.len(), 5);
        assert_eq!(blocks[1], block_hash(&bytes[4096..8192]));
        assert_eq!(*ZERO_BLOCK, block_hash(&[]));
    }
}
