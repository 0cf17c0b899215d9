//! Digests of zeroes, for which a bundle stores nothing.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::limits::BLOCK_LEN;
use crate::verity::digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Feeds `len` zeroes to `hash`.
pub(crate) fn hash_zeroes(hash: &mut Sha256, len: u32) {
    static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = len as usize;
    while left > 0 {
        let step = left.min(ZEROES.len());
        hash.update(ZEROES.get(..step).unwrap_or_default());
        left = left.saturating_sub(step);
    }
}

/// Returns the digests of chunks of zeroes of each of these lengths. *Pure.* Hashes no more bytes than the
/// maximum length, once.
#[must_use]
pub fn zero_digests(lengths: BTreeSet<u32>) -> BTreeMap<u32, [u8; 32]> {
    let mut hash = Sha256::new();
    let mut hashed = 0_u32;
    let mut digests = BTreeMap::new();
    for len in lengths {
        while hashed < len.div_ceil(BLOCK_LEN) {
            hash.update(*digest::ZERO_BLOCK);
            hashed = hashed.saturating_add(1);
        }
        digests.insert(len, hash.clone().finalize().into());
    }
    digests
}
