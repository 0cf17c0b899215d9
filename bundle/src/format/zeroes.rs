//! Digests of zeroes, for which a bundle stores nothing.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::limits::BLOCK_LEN;
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

/// Returns the SHA-256 of zeroes of each of these lengths. *Pure.* Hashes no more bytes than the
/// maximum length, once.
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
