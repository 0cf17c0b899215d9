//! The seal of a release: one 4 KiB block with a statement about the release and its signatures.
//!
//! The same block is the first 4 KiB of a bundle file and of a boot partition: the updater verifies
//! a bundle, and the boot guard a boot image, with one set of signatures. The layout is binary and
//! fixed, so that the guard needs no CBOR parser. Every byte is either checked or must be zero.
//!
//! | module | holds |
//! | --- | --- |
//! | [`field`] | fields of fixed layouts: integers, texts |
//! | [`pe`] | the headers of EFI programs |
//! | `statement` | [`Statement`] and [`Seal`] |
//! | `trust` | [`Trust`] and the verification of signatures |
//!
//! ```text
//! offset  bytes  content
//!      0    512  statement, the bytes that are signed (see [`Statement`])
//!    512      4  number of signatures, 0 to 16
//!    516     12  zero
//!    528   1536  16 signature entries of 96 bytes (see [`SignatureEntry`]), unused ones zero
//!   2064   2028  zero
//!   4092      4  CRC-32 (IEEE) of the bytes before it: detects damage, does not stop forgery
//! ```
//! All integers are little-endian.
#![no_std]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

#[cfg(test)]
extern crate std;

pub mod field;
pub mod pe;
mod statement;
mod trust;

pub use field::Text64;
pub use statement::{
    DOMAIN, ImageDigest, STATEMENT_LEN, Statement, StatementError, VERITY_BLOCK, VerifiedRoot,
};
pub use trust::{
    KeyError, KeyId, MAX_TRUSTED_KEYS, Purpose, Role, TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust,
    TrustError, TrustedKey, parse_public_key,
};

use ed25519_dalek::Signature;
use field::{get, put};

/// Length of a seal in bytes; the EFI program in a boot partition begins at this offset.
pub const SEAL_LEN: usize = 4096;
/// Maximum number of signatures of a seal.
pub const MAX_SIGNATURES: usize = 16;

const COUNT_AT: usize = 512;
const ENTRIES_AT: usize = 528;
const ENTRY_LEN: usize = 96;
const ENTRIES_END: usize = 2064;
const CRC_AT: usize = 4092;
const ALGORITHM_ED25519: u32 = 1;

/// A seal with a valid structure. Its signatures are not verified: see [`Seal::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Seal {
    bytes: [u8; SEAL_LEN],
}

/// One signature of a seal, encoded as key id (16 bytes), algorithm (`u32`, 1 is Ed25519), 12 zero
/// bytes, signature (64 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureEntry {
    /// Id of the key: the first 16 bytes of the SHA-256 of the public key.
    pub key_id: KeyId,
    /// The raw Ed25519 signature over the statement's 512 bytes.
    pub signature: [u8; 64],
}

/// Reasons why 4 KiB are not a seal. No signature is verified before this is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// All bytes are zero: an empty or disarmed boot partition.
    Empty,
    /// The first bytes are not those of a seal.
    NotASeal,
    /// A seal of another major version.
    UnknownMajor(u16),
    /// The CRC does not match: the block is damaged.
    Damaged {
        /// CRC found in the block.
        stored: u32,
        /// CRC of the block's bytes.
        computed: u32,
    },
    /// More signatures than the maximum.
    TooManySignatures(u32),
    /// A signature of an algorithm other than Ed25519.
    UnknownAlgorithm(u32),
    /// Reserved bytes are not zero, the first of them at this offset.
    NotZero(usize),
    /// The seal already holds 16 signatures.
    Full,
    /// This key has already signed the seal.
    AlreadySigned(KeyId),
}

impl core::fmt::Display for SealError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("empty: no seal"),
            Self::NotASeal => f.write_str("not a RayOS bundle or boot image"),
            Self::UnknownMajor(found) => {
                write!(f, "unknown format version {found}, expected 1")
            }
            Self::Damaged { stored, computed } => {
                write!(
                    f,
                    "seal damaged: checksum {computed:08x}, expected {stored:08x}"
                )
            }
            Self::TooManySignatures(found) => {
                write!(f, "seal with {found} signatures, maximum {MAX_SIGNATURES}")
            }
            Self::UnknownAlgorithm(found) => write!(f, "unknown signature algorithm {found}"),
            Self::NotZero(at) => write!(f, "seal: reserved byte at offset {at} is not zero"),
            Self::Full => write!(f, "seal already has {MAX_SIGNATURES} signatures"),
            Self::AlreadySigned(key) => write!(f, "key {key} has already signed this seal"),
        }
    }
}
impl core::error::Error for SealError {}

/// Reasons why a seal is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// It has no signature.
    Unsigned,
    /// A trusted key's signature does not match the statement.
    BadSignature(KeyId),
    /// It is signed by fewer distinct trusted keys than the threshold of a role.
    ThresholdNotMet {
        /// The role.
        role: Role,
        /// Number of distinct trusted keys of the role that signed.
        have: u8,
        /// Threshold of the role.
        need: u8,
    },
    /// Signed under a higher key epoch than that of the trust.
    TrustTooOld {
        /// Key epoch of the release.
        release: u64,
        /// Key epoch of the trust.
        trust: u64,
    },
    /// The signed statement is malformed.
    Statement(StatementError),
}

impl core::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unsigned => f.write_str("not signed"),
            Self::BadSignature(key) => write!(f, "signature of key {key} does not match"),
            Self::ThresholdNotMet { role, have, need } => {
                write!(f, "signed by {have} trusted {role} key(s), expected {need}")
            }
            Self::TrustTooOld { release, trust } => {
                write!(
                    f,
                    "signed under key epoch {release}, trust has key epoch {trust}"
                )
            }
            Self::Statement(error) => write!(f, "{error}"),
        }
    }
}
impl core::error::Error for VerifyError {}

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
        let count = u32::from_le_bytes(get(bytes, COUNT_AT));
        if count as usize > MAX_SIGNATURES {
            return Err(SealError::TooManySignatures(count));
        }
        seal.check_zeroes(516, ENTRIES_AT)?;
        for entry in 0..seal.count() {
            let at = entry_at(entry);
            let algorithm = u32::from_le_bytes(get(bytes, at.saturating_add(16)));
            if algorithm != ALGORITHM_ED25519 {
                return Err(SealError::UnknownAlgorithm(algorithm));
            }
            seal.check_zeroes(at.saturating_add(20), at.saturating_add(32))?;
        }
        seal.check_zeroes(entry_at(seal.count()), ENTRIES_END)?;
        seal.check_zeroes(ENTRIES_END, CRC_AT)?;
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
        (0..self.count()).map(|entry| {
            let at = entry_at(entry);
            SignatureEntry {
                key_id: KeyId(get(&self.bytes, at)),
                signature: get(&self.bytes, at.saturating_add(32)),
            }
        })
    }

    /// Adds a signature. *Pure.* It is not verified here, but by [`Seal::verify`].
    ///
    /// # Errors
    /// [`SealError::Full`] after 16 signatures, [`SealError::AlreadySigned`] for a second signature
    /// of a key.
    pub fn add_signature(&mut self, key_id: KeyId, signature: &[u8; 64]) -> Result<(), SealError> {
        if self.signatures().any(|entry| entry.key_id == key_id) {
            return Err(SealError::AlreadySigned(key_id));
        }
        let count = self.count();
        if count >= MAX_SIGNATURES {
            return Err(SealError::Full);
        }
        let at = entry_at(count);
        put(&mut self.bytes, at, &key_id.0);
        put(
            &mut self.bytes,
            at.saturating_add(16),
            &ALGORITHM_ED25519.to_le_bytes(),
        );
        put(&mut self.bytes, at.saturating_add(32), signature);
        put(
            &mut self.bytes,
            COUNT_AT,
            &(count.saturating_add(1) as u32).to_le_bytes(),
        );
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
        if self.count() == 0 {
            return Err(VerifyError::Unsigned);
        }
        let message = self.to_be_signed();
        let mut signed = [false; MAX_TRUSTED_KEYS];
        for entry in self.signatures() {
            let signature = Signature::from_bytes(&entry.signature);
            for (key, signed) in trust
                .keys()
                .zip(signed.iter_mut())
                .filter(|(key, _)| key.id() == entry.key_id)
            {
                key.verify_strict(&message, &signature)
                    .map_err(|()| VerifyError::BadSignature(entry.key_id))?;
                *signed = true;
            }
        }
        for role in trust.roles_for(purpose).into_iter().flatten() {
            let have = trust
                .keys()
                .zip(signed)
                .filter(|(key, signed)| *signed && key.has_role(role))
                .fold(0_u8, |count, _| count.saturating_add(1));
            let need = trust.threshold(role);
            if have < need {
                return Err(VerifyError::ThresholdNotMet { role, have, need });
            }
        }
        let statement = Statement::decode(&message).map_err(VerifyError::Statement)?;
        if statement.key_epoch > trust.epoch() {
            return Err(VerifyError::TrustTooOld {
                release: statement.key_epoch,
                trust: trust.epoch(),
            });
        }
        Ok(statement)
    }

    fn count(&self) -> usize {
        u32::from_le_bytes(get(&self.bytes, COUNT_AT)) as usize
    }

    fn check_zeroes(&self, from: usize, to: usize) -> Result<(), SealError> {
        let bytes = self.bytes.get(from..to).unwrap_or_default();
        match bytes.iter().position(|byte| *byte != 0) {
            Some(at) => Err(SealError::NotZero(from.saturating_add(at))),
            None => Ok(()),
        }
    }

    fn refresh_crc(&mut self) {
        let crc = checksum(&self.bytes);
        put(&mut self.bytes, CRC_AT, &crc.to_le_bytes());
    }
}

impl core::fmt::Debug for Seal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seal")
            .field("signatures", &self.count())
            .finish_non_exhaustive()
    }
}

fn checksum(bytes: &[u8; SEAL_LEN]) -> u32 {
    crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default())
}

const fn entry_at(entry: usize) -> usize {
    ENTRIES_AT.saturating_add(entry.saturating_mul(ENTRY_LEN))
}
