//! Keys: ids, roles, purposes.

use crate::field::get;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

/// Maximum number of signatures of a seal or a link.
pub const MAX_SIGNATURES: usize = 16;

/// Purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs releases. Its threshold is at least 1.
    Release,
    /// A second party, which must sign too if its threshold is not 0.
    Vendor,
    /// Signs recovery images if its threshold is not 0; otherwise the release role signs them.
    Recovery,
}

impl Role {
    /// All roles, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Release, Self::Vendor, Self::Recovery];

    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Release => 1,
            Self::Vendor => 2,
            Self::Recovery => 4,
        }
    }
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Vendor => "vendor",
            Self::Recovery => "recovery",
        })
    }
}

/// Purpose for which a seal is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Installing, updating to or booting a release.
    Release,
    /// Booting a recovery image.
    Recovery,
}

/// Id of a key: the first 16 bytes of the SHA-256 of its public key; printed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// Returns the id of `public_key`. *Pure.*
    #[must_use]
    pub fn of(public_key: &[u8; 32]) -> Self {
        Self(get(&Sha256::digest(public_key), 0))
    }
}

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl core::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Reasons to refuse 32 bytes as a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// They are not a point of the curve.
    NotAKey,
    /// They are a point of small order, for which anyone can forge signatures.
    Weak,
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotAKey => "not an Ed25519 public key",
            Self::Weak => "weak Ed25519 public key (small order)",
        })
    }
}
impl core::error::Error for KeyError {}

/// Parses a public key: a point of the curve, not of small order. *Pure.*
///
/// # Errors
/// [`KeyError`].
pub fn parse_public_key(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAKey)?;
    if key.is_weak() {
        Err(KeyError::Weak)
    } else {
        Ok(key)
    }
}
