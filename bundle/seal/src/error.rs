//! Why a block is not a seal, and why a seal is refused.

use crate::key::{KeyId, MAX_SIGNATURES, Role};
use crate::statement::StatementError;

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
    /// Only keys of a key epoch below the trust floor signed it sufficiently.
    Withdrawn {
        /// The highest key epoch that accepts it.
        epoch: u64,
        /// The trust floor.
        floor: u64,
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
            Self::Withdrawn { epoch, floor } => write!(
                f,
                "signed by keys of key epoch {epoch}, this machine accepts {floor} or higher"
            ),
            Self::Statement(error) => write!(f, "{error}"),
        }
    }
}
impl core::error::Error for VerifyError {}
