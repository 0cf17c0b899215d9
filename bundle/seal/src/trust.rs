//! Trust: the keys that may sign, their roles, and how many of them must sign.

use crate::error::VerifyError;
use crate::field::{get, put};
use crate::key::{KeyError, KeyId, Purpose, Role, parse_public_key};
use crate::signatures::SignatureEntry;
use ed25519_dalek::{Signature, VerifyingKey};

/// Maximum number of keys of a trust.
pub const MAX_TRUSTED_KEYS: usize = 32;
/// Length of the binary form that is embedded in the guard.
pub const TRUST_BLOCK_LEN: usize = 2048;
/// First 16 bytes of the binary form, and of the guard's section before keys are embedded.
pub const TRUST_BLOCK_MAGIC: [u8; 16] = *b"RayOS trust v1\0\0";

const KEYS_AT: usize = 32;
const KEY_LEN: usize = 40;
const CRC_AT: usize = 2044;

/// A key and its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    key: VerifyingKey,
    id: KeyId,
    roles: u8,
}

impl TrustedKey {
    /// Returns a key that may sign for `roles`. *Pure.*
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(public_key: &[u8; 32], roles: &[Role]) -> Result<Self, KeyError> {
        let roles = roles.iter().fold(0, |bits, role| bits | role.bit());
        Ok(Self {
            key: parse_public_key(public_key)?,
            id: KeyId::of(public_key),
            roles,
        })
    }

    /// Returns the key's id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Returns true if the key may sign for `role`.
    #[must_use]
    pub const fn has_role(&self, role: Role) -> bool {
        self.roles & role.bit() != 0
    }

    pub(crate) fn verify_strict(&self, message: &[u8], signature: &Signature) -> Result<(), ()> {
        self.key.verify_strict(message, signature).map_err(|_| ())
    }
}

/// Trusted keys, their roles, the thresholds, and the key epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    epoch: u64,
    thresholds: [u8; 3],
    keys: [Option<TrustedKey>; MAX_TRUSTED_KEYS],
}

/// Reasons to refuse a set of keys and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// No key.
    NoKeys,
    /// More than 32 keys.
    TooManyKeys,
    /// The same key twice: one signature would count twice.
    DuplicateKey(KeyId),
    /// The release role needs a threshold of at least 1.
    NoThreshold,
    /// A role has a threshold above its number of keys.
    Unreachable {
        /// The role.
        role: Role,
        /// Number of its keys.
        keys: u8,
        /// Its threshold.
        threshold: u8,
    },
    /// A key of the binary form is refused.
    Key(KeyError),
    /// The binary form is damaged, empty or of another version.
    Block,
}

impl core::fmt::Display for TrustError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoKeys => f.write_str("trust has no key"),
            Self::TooManyKeys => write!(f, "trust has more than {MAX_TRUSTED_KEYS} keys"),
            Self::DuplicateKey(key) => write!(f, "trust has key {key} twice"),
            Self::NoThreshold => {
                f.write_str("threshold of the release role is 0, expected at least 1")
            }
            Self::Unreachable {
                role,
                keys,
                threshold,
            } => {
                write!(
                    f,
                    "{role} role has {keys} key(s) and a threshold of {threshold}"
                )
            }
            Self::Key(error) => write!(f, "{error}"),
            Self::Block => f.write_str("no trusted keys are built into this program"),
        }
    }
}
impl core::error::Error for TrustError {}

impl Trust {
    /// Returns trust of key epoch `epoch` in `keys`, with the thresholds of the roles in the order
    /// of [`Role::ALL`]. *Pure.*
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(epoch: u64, thresholds: [u8; 3], keys: &[TrustedKey]) -> Result<Self, TrustError> {
        if keys.is_empty() {
            return Err(TrustError::NoKeys);
        }
        if keys.len() > MAX_TRUSTED_KEYS {
            return Err(TrustError::TooManyKeys);
        }
        let mut trust = Self {
            epoch,
            thresholds,
            keys: [None; MAX_TRUSTED_KEYS],
        };
        for (key, number) in keys.iter().zip(0..) {
            if trust
                .keys()
                .any(|known| known.public_key() == key.public_key())
            {
                return Err(TrustError::DuplicateKey(key.id()));
            }
            if let Some(free) = trust.keys.get_mut::<usize>(number) {
                *free = Some(*key);
            }
        }
        if trust.threshold(Role::Release) == 0 {
            return Err(TrustError::NoThreshold);
        }
        for role in Role::ALL {
            let keys = trust
                .keys()
                .filter(|key| key.has_role(role))
                .fold(0_u8, |count, _| count.saturating_add(1));
            let threshold = trust.threshold(role);
            if keys < threshold {
                return Err(TrustError::Unreachable {
                    role,
                    keys,
                    threshold,
                });
            }
        }
        Ok(trust)
    }

    /// Returns the key epoch. A newer trust file has a higher one.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns how many distinct keys of `role` must sign.
    #[must_use]
    pub fn threshold(&self, role: Role) -> u8 {
        let [release, vendor, recovery] = self.thresholds;
        match role {
            Role::Release => release,
            Role::Vendor => vendor,
            Role::Recovery => recovery,
        }
    }

    /// Returns the keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &TrustedKey> {
        self.keys.iter().flatten()
    }

    /// Returns the roles whose thresholds a seal must meet for `purpose`.
    fn roles_for(&self, purpose: Purpose) -> [Option<Role>; 2] {
        let vendor = (self.threshold(Role::Vendor) > 0).then_some(Role::Vendor);
        match purpose {
            Purpose::Recovery if self.threshold(Role::Recovery) > 0 => [Some(Role::Recovery), None],
            Purpose::Release | Purpose::Recovery => [Some(Role::Release), vendor],
        }
    }

    /// Checks that enough distinct keys signed `message` for `purpose`. *Pure.* Signatures of other
    /// keys are ignored; one of a trusted key that does not match is an error; a key counts once.
    pub(crate) fn check_signatures(
        &self,
        purpose: Purpose,
        message: &[u8],
        entries: impl Iterator<Item = SignatureEntry>,
    ) -> Result<(), VerifyError> {
        let mut signed = [false; MAX_TRUSTED_KEYS];
        let mut is_unsigned = true;
        for entry in entries {
            is_unsigned = false;
            let signature = Signature::from_bytes(&entry.signature);
            for (key, signed) in self
                .keys()
                .zip(signed.iter_mut())
                .filter(|(key, _)| key.id() == entry.key_id)
            {
                key.verify_strict(message, &signature)
                    .map_err(|()| VerifyError::BadSignature(entry.key_id))?;
                *signed = true;
            }
        }
        if is_unsigned {
            return Err(VerifyError::Unsigned);
        }
        for role in self.roles_for(purpose).into_iter().flatten() {
            let have = self
                .keys()
                .zip(signed)
                .filter(|(key, signed)| *signed && key.has_role(role))
                .fold(0_u8, |count, _| count.saturating_add(1));
            let need = self.threshold(role);
            if have < need {
                return Err(VerifyError::ThresholdNotMet { role, have, need });
            }
        }
        Ok(())
    }

    /// Returns the binary form for the guard, 2048 bytes: magic (16), key epoch (`u64`), thresholds
    /// (3), number of keys (1), zero (4), then 40 bytes for each key (public key 32, roles 1, zero
    /// 7), zero, CRC-32 in the last 4. *Pure.*
    #[must_use]
    pub fn to_block(&self) -> [u8; TRUST_BLOCK_LEN] {
        let mut block = [0; TRUST_BLOCK_LEN];
        put(&mut block, 0, &TRUST_BLOCK_MAGIC);
        put(&mut block, 16, &self.epoch.to_le_bytes());
        put(&mut block, 24, &self.thresholds);
        let mut count: u8 = 0;
        for (key, at) in self.keys().zip((KEYS_AT..).step_by(KEY_LEN)) {
            put(&mut block, at, &key.public_key());
            put(&mut block, at.saturating_add(32), &[key.roles]);
            count = count.saturating_add(1);
        }
        put(&mut block, 27, &[count]);
        let crc = crc32fast::hash(block.get(..CRC_AT).unwrap_or_default());
        put(&mut block, CRC_AT, &crc.to_le_bytes());
        block
    }

    /// Decodes the binary form. *Pure.*
    ///
    /// # Errors
    /// [`TrustError::Block`] for a damaged or empty block, or an error of [`Trust::new`].
    pub fn from_block(block: &[u8; TRUST_BLOCK_LEN]) -> Result<Self, TrustError> {
        let crc = crc32fast::hash(block.get(..CRC_AT).unwrap_or_default());
        if get::<16>(block, 0) != TRUST_BLOCK_MAGIC || u32::from_le_bytes(get(block, CRC_AT)) != crc
        {
            return Err(TrustError::Block);
        }
        let [count] = get::<1>(block, 27);
        let mut found: Option<TrustedKey> = None;
        let mut keys = [None; MAX_TRUSTED_KEYS];
        if usize::from(count) > MAX_TRUSTED_KEYS {
            return Err(TrustError::TooManyKeys);
        }
        for (place, at) in keys
            .iter_mut()
            .zip((KEYS_AT..).step_by(KEY_LEN))
            .take(usize::from(count))
        {
            let bytes = get::<32>(block, at);
            let [roles] = get::<1>(block, at.saturating_add(32));
            let key = parse_public_key(&bytes).map_err(TrustError::Key)?;
            let key = TrustedKey {
                key,
                id: KeyId::of(&bytes),
                roles,
            };
            *place = Some(key);
            found = Some(key);
        }
        // `new` takes a slice of keys: fill the rest of the array with the last key, then cut it to
        // the count.
        let filler = found.ok_or(TrustError::NoKeys)?;
        let keys = keys.map(|key| key.unwrap_or(filler));
        Self::new(
            u64::from_le_bytes(get(block, 16)),
            get(block, 24),
            keys.get(..usize::from(count)).unwrap_or_default(),
        )
    }
}
