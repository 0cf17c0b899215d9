//! The seal: statement and signatures in one block.

use crate::error::{SealError, VerifyError};
use crate::field::{get, put};
use crate::key::{KeyId, Purpose};
use crate::signatures::{ENTRIES_LEN, SignatureEntries, SignatureEntry, check_zeroes};
use crate::statement::{self, DOMAIN, STATEMENT_LEN, Statement, StatementError};
use crate::trust::Trust;

/// Length of a seal in bytes; the EFI program in a boot partition begins at this offset.
pub const SEAL_LEN: usize = 4096;

const COUNT_AT: usize = 512;
const ENTRIES_AT: usize = 528;
const ENTRIES_END: usize = ENTRIES_AT + ENTRIES_LEN;
const CRC_AT: usize = 4092;

/// A seal with a valid structure. Its signatures are not verified: see [`Seal::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Seal {
    bytes: [u8; SEAL_LEN],
}

impl Seal {
    /// Returns an unsigned seal with `statement`. *Pure.*
    #[must_use]
    pub fn new(statement: &Statement) -> Self {
        let mut bytes = [0; SEAL_LEN];
        put(&mut bytes, 0, &statement.encode());
        let mut seal = Self { bytes };
        seal.refresh_crc();
        seal
    }

    /// Checks the structure of the first 4 KiB of a bundle or a boot partition. *Pure.* Reserved
    /// bytes must be zero, so that a seal has exactly one encoding.
    ///
    /// # Errors
    /// [`SealError`], in this order: empty, magic, major version, CRC, number of signatures,
    /// reserved bytes, algorithm.
    pub fn from_bytes(bytes: &[u8; SEAL_LEN]) -> Result<Self, SealError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(SealError::Empty);
        }
        if get::<32>(bytes, 0) != DOMAIN {
            return Err(SealError::NotASeal);
        }
        let major = u16::from_le_bytes(get(bytes, 32));
        if major != statement::MAJOR {
            return Err(SealError::UnknownMajor(major));
        }
        let stored = u32::from_le_bytes(get(bytes, CRC_AT));
        let computed = checksum(bytes);
        if stored != computed {
            return Err(SealError::Damaged { stored, computed });
        }
        let seal = Self { bytes: *bytes };
        check_zeroes(bytes, COUNT_AT.saturating_add(4), ENTRIES_AT)?;
        seal.entries().check()?;
        check_zeroes(bytes, ENTRIES_END, CRC_AT)?;
        Ok(seal)
    }

    /// Returns the bytes of the seal, as in a file or a partition.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SEAL_LEN] {
        &self.bytes
    }

    /// Returns the 512 bytes to be signed: the statement, which begins with a domain separation
    /// string.
    #[must_use]
    pub fn to_be_signed(&self) -> [u8; STATEMENT_LEN] {
        get(&self.bytes, 0)
    }

    /// Returns the signatures, in the order in which they were added.
    pub fn signatures(&self) -> impl Iterator<Item = SignatureEntry> + '_ {
        self.entries().iter()
    }

    /// Adds a signature. *Pure.* It is not verified here, but by [`Seal::verify`].
    ///
    /// # Errors
    /// [`SealError::Full`] after 16 signatures, [`SealError::AlreadySigned`] for a second signature
    /// of a key.
    pub fn add_signature(&mut self, key_id: KeyId, signature: &[u8; 64]) -> Result<(), SealError> {
        self.entries().check_new(key_id)?;
        let count = self.entries().count;
        let entry = SignatureEntry {
            key_id,
            signature: *signature,
        };
        entry.put(&mut self.bytes, ENTRIES_AT, count);
        let count = count.saturating_add(1) as u32;
        put(&mut self.bytes, COUNT_AT, &count.to_le_bytes());
        self.refresh_crc();
        Ok(())
    }

    /// Returns the statement without verifying a signature, to show it to a person. For decisions
    /// use [`Seal::verify`].
    ///
    /// # Errors
    /// [`StatementError`] if a field is invalid.
    pub fn unverified_statement(&self) -> Result<Statement, StatementError> {
        Statement::decode(&self.to_be_signed())
    }

    /// Returns the statement if enough distinct trusted keys have signed it for `purpose`. *Pure.*
    ///
    /// Signatures of keys outside the trust are ignored. One signature of a trusted key that does
    /// not match refuses the seal. A key counts once.
    ///
    /// # Errors
    /// [`VerifyError`]. The statement is decoded only after its signatures are verified.
    pub fn verify(&self, trust: &Trust, purpose: Purpose) -> Result<Statement, VerifyError> {
        let message = self.to_be_signed();
        trust.check_signatures(purpose, &message, self.signatures())?;
        let statement = Statement::decode(&message).map_err(VerifyError::Statement)?;
        if statement.key_epoch > trust.epoch() {
            return Err(VerifyError::TrustTooOld {
                release: statement.key_epoch,
                trust: trust.epoch(),
            });
        }
        Ok(statement)
    }

    fn entries(&self) -> SignatureEntries<'_> {
        SignatureEntries::of(&self.bytes, COUNT_AT, ENTRIES_AT)
    }

    fn refresh_crc(&mut self) {
        let crc = checksum(&self.bytes);
        put(&mut self.bytes, CRC_AT, &crc.to_le_bytes());
    }
}

impl core::fmt::Debug for Seal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seal")
            .field("signatures", &self.entries().count)
            .finish_non_exhaustive()
    }
}

fn checksum(bytes: &[u8; SEAL_LEN]) -> u32 {
    crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default())
}
