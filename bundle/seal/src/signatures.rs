//! Signature entries: the part that a seal and a trust link have in common.

use crate::error::SealError;
use crate::field::{get, put};
use crate::key::{KeyId, MAX_SIGNATURES};

/// Length of all entries in bytes.
pub(crate) const ENTRIES_LEN: usize = 1536;
const ENTRY_LEN: usize = 96;
const ALGORITHM_ED25519: u32 = 1;

/// One signature, encoded as key id (16 bytes), algorithm (`u32`, 1 is Ed25519), 12 zero bytes,
/// signature (64 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureEntry {
    /// Id of the key: the first 16 bytes of the SHA-256 of the public key.
    pub key_id: KeyId,
    /// The raw Ed25519 signature.
    pub signature: [u8; 64],
}

impl SignatureEntry {
    /// Writes the entry in place `number` of the entries at `entries_at`.
    pub(crate) fn put(&self, bytes: &mut [u8], entries_at: usize, number: usize) {
        let at = entry_at(entries_at, number);
        put(bytes, at, &self.key_id.0);
        put(
            bytes,
            at.saturating_add(16),
            &ALGORITHM_ED25519.to_le_bytes(),
        );
        put(bytes, at.saturating_add(32), &self.signature);
    }
}

/// The signature entries in a block, and their number.
#[derive(Clone, Copy)]
pub(crate) struct SignatureEntries<'a> {
    bytes: &'a [u8],
    entries_at: usize,
    pub(crate) count: usize,
}

impl<'a> SignatureEntries<'a> {
    /// Returns the entries at `entries_at` of `bytes`; their number is at `count_at`.
    pub(crate) fn of(bytes: &'a [u8], count_at: usize, entries_at: usize) -> Self {
        Self {
            bytes,
            entries_at,
            count: u32::from_le_bytes(get(bytes, count_at)) as usize,
        }
    }

    /// Checks number, algorithms, and that the reserved bytes are zero.
    pub(crate) fn check(&self) -> Result<(), SealError> {
        if self.count > MAX_SIGNATURES {
            return Err(SealError::TooManySignatures(self.count as u32));
        }
        for entry in 0..self.count {
            let at = entry_at(self.entries_at, entry);
            let algorithm = u32::from_le_bytes(get(self.bytes, at.saturating_add(16)));
            if algorithm != ALGORITHM_ED25519 {
                return Err(SealError::UnknownAlgorithm(algorithm));
            }
            check_zeroes(self.bytes, at.saturating_add(20), at.saturating_add(32))?;
        }
        let end = self.entries_at.saturating_add(ENTRIES_LEN);
        check_zeroes(self.bytes, entry_at(self.entries_at, self.count), end)
    }

    /// Checks that a signature of `key` can be added.
    pub(crate) fn check_new(&self, key: KeyId) -> Result<(), SealError> {
        if self.iter().any(|entry| entry.key_id == key) {
            Err(SealError::AlreadySigned(key))
        } else if self.count >= MAX_SIGNATURES {
            Err(SealError::Full)
        } else {
            Ok(())
        }
    }

    /// Returns the signatures, in the order in which they were added.
    pub(crate) fn iter(self) -> impl Iterator<Item = SignatureEntry> + 'a {
        (0..self.count.min(MAX_SIGNATURES)).map(move |entry| {
            let at = entry_at(self.entries_at, entry);
            SignatureEntry {
                key_id: KeyId(get(self.bytes, at)),
                signature: get(self.bytes, at.saturating_add(32)),
            }
        })
    }
}

/// Checks that bytes `from` to `to` are zero.
pub(crate) fn check_zeroes(bytes: &[u8], from: usize, to: usize) -> Result<(), SealError> {
    let range = bytes.get(from..to).unwrap_or_default();
    match range.iter().position(|byte| *byte != 0) {
        Some(at) => Err(SealError::NotZero(from.saturating_add(at))),
        None => Ok(()),
    }
}

const fn entry_at(entries_at: usize, entry: usize) -> usize {
    entries_at.saturating_add(entry.saturating_mul(ENTRY_LEN))
}
