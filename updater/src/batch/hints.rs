//! The block hints of a bundle: what each 4 KiB of its chunks would hash to. They are believed by
//! nobody.

use super::original;
use bundle::limits::BLOCK_LEN;
use bundle::{ReadError, Release, block_hint, hint_count, hints_of};
use sha2::{Digest as _, Sha256};

/// Longest block hints that are looked at, in bytes: those of 8 GiB of chunks, so that neither they
/// nor the table that is made of them take more than a few dozen MiB. A bundle with more is applied
/// without.
pub(crate) const MAX_HINTS_LEN: u64 = 16 << 20;

/// The hints of all chunks.
pub(crate) struct Hints {
    hints: Vec<u64>,
    /// For each chunk the number of hints before it.
    first: Vec<u32>,
}

impl Hints {
    /// Whether `release` has hints, and not too many.
    pub(crate) fn are_in(release: &Release) -> bool {
        let range = release.hints_range();
        !range.is_empty() && range.end - range.start <= MAX_HINTS_LEN
    }

    /// Takes the bytes that lie at [`Release::hints_range`], if they are what the manifest says.
    ///
    /// # Errors
    /// [`ReadError::Digest`].
    pub(crate) fn check(release: &Release, bytes: &[u8]) -> Result<Self, ReadError> {
        let expected = release
            .manifest()
            .hints
            .as_ref()
            .map_or([0; 32], |hints| hints.0);
        let found: [u8; 32] = Sha256::digest(bytes).into();
        if found != expected {
            return Err(ReadError::Digest {
                what: "block hints",
                expected,
                found,
            });
        }
        let mut before = 0;
        let first = release.chunks().iter().map(|chunk| {
            let first = before;
            before += hint_count(chunk) as u32;
            first
        });
        Ok(Self {
            first: first.collect(),
            hints: hints_of(bytes).collect(),
        })
    }

    /// The hints of chunk `number`, or of the one that it repeats; none for zeroes.
    pub(crate) fn of(&self, release: &Release, number: usize) -> &[u64] {
        let chunk = original(release, number);
        let first = self.first[chunk] as usize;
        &self.hints[first..first + hint_count(&release.chunks()[chunk]) as usize]
    }

    /// Whether `bytes` may be those of chunk `number`.
    pub(crate) fn fit(&self, release: &Release, number: usize, bytes: &[u8]) -> bool {
        let blocks = bytes.chunks(BLOCK_LEN as usize).map(block_hint);
        blocks.eq(self.of(release, number).iter().copied())
    }
}
