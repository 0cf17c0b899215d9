//! The block hints of a bundle: the hash of each 4 KiB of its chunks. They prove nothing.

use super::original;
use bundle::limits::BLOCK_LEN;
use bundle::{ReadError, Release, block_hint, hint_count, hints_of};
use sha2::{Digest as _, Sha256};

/// Maximum length of the hints in bytes: those of 8 GiB of chunks. The hints and the table made
/// from them then take a few dozen MiB. A bundle with more hints is applied without them.
pub(crate) const MAX_HINTS_LEN: u64 = 16 << 20;

/// The hints of all chunks.
pub(crate) struct Hints {
    hints: Vec<u64>,
    /// For each chunk the index of its first hint.
    first: Vec<u32>,
}

impl Hints {
    /// Returns whether `release` has hints of an acceptable length.
    pub(crate) fn are_in(release: &Release) -> bool {
        let range = release.hints_range();
        !range.is_empty() && range.end - range.start <= MAX_HINTS_LEN
    }

    /// Returns the hints in `bytes`, which are those at [`Release::hints_range`].
    ///
    /// # Errors
    /// [`ReadError::Digest`] if they do not have the digest in the manifest.
    pub(crate) fn check(release: &Release, bytes: &[u8]) -> Result<Self, ReadError> {
        let digest = release.manifest().hints.as_ref();
        let expected = digest.map_or([0; 32], |digest| digest.0);
        let found: [u8; 32] = Sha256::digest(bytes).into();
        if found != expected {
            return Err(ReadError::Digest {
                what: "block hints",
                expected,
                found,
            });
        }
        let mut first = Vec::with_capacity(release.chunks().len());
        let mut next = 0;
        for chunk in release.chunks() {
            first.push(next);
            next += hint_count(chunk) as u32;
        }
        Ok(Self {
            first,
            hints: hints_of(bytes).collect(),
        })
    }

    /// Returns the hints of a chunk, or of the one that it repeats; none for zeroes.
    pub(crate) fn of(&self, release: &Release, chunk: usize) -> &[u64] {
        let original = original(release, chunk);
        let first = self.first[original] as usize;
        let count = hint_count(&release.chunks()[original]) as usize;
        &self.hints[first..first + count]
    }

    /// Returns whether `bytes` match all hints of a chunk.
    pub(crate) fn match_all(&self, release: &Release, chunk: usize, bytes: &[u8]) -> bool {
        let blocks = bytes.chunks(BLOCK_LEN as usize).map(block_hint);
        blocks.eq(self.of(release, chunk).iter().copied())
    }
}
