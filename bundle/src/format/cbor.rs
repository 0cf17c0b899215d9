//! Deterministic CBOR (RFC 8949, section 4.2.1); every other encoding is refused. No other module
//! uses the CBOR library.
//!
//! serde_cbor is no longer maintained (RUSTSEC-2021-0127) and accepts several encodings of the same
//! value. Therefore [`check_deterministic`] checks every byte first: shortest form, definite
//! lengths, keys in order, no tags, no floats, bounded depth. Then serde_cbor decodes, and the
//! decoded value must encode to the same bytes.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::limits::MAX_MANIFEST_DEPTH;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;

/// Reasons why bytes are not the deterministic encoding of a value. Offsets count from the start of
/// the encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum CborError {
    #[error("ends at byte {at} in the middle of an item")]
    Truncated { at: usize },
    #[error("byte {at}: a number or length is not in its shortest form")]
    NotShortest { at: usize },
    #[error("byte {at}: item of indefinite length")]
    Indefinite { at: usize },
    #[error("byte {at}: major type {major} is not allowed in a manifest")]
    Type { at: usize, major: u8 },
    #[error("byte {at}: nested more than {limit} levels deep")]
    Depth { at: usize, limit: usize },
    #[error("byte {at}: map key is not text")]
    KeyType { at: usize },
    #[error("byte {at}: duplicate map key")]
    DuplicateKey { at: usize },
    #[error("byte {at}: map keys are not in deterministic order")]
    KeyOrder { at: usize },
    #[error("byte {at}: text is not UTF-8")]
    NotUtf8 { at: usize },
    #[error("{len} bytes after the end")]
    Trailing { len: usize },
    #[error("{0}")]
    Schema(String),
    #[error("decoded value does not encode to the same bytes")]
    NotDeterministic,
}

/// Encodes `value`. *Pure.* Structs must declare their fields in deterministic order; otherwise
/// [`decode`] refuses the result.
///
/// # Errors
/// [`CborError::Schema`] for values that CBOR cannot express.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CborError> {
    serde_cbor::to_vec(value).map_err(|error| CborError::Schema(error.to_string()))
}

/// Decodes a value. *Pure.* The caller has bounded and authenticated `bytes`.
///
/// # Errors
/// [`CborError`] if the encoding is not deterministic, then if it does not fit `T`.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    check_deterministic(bytes)?;
    let value: T =
        serde_cbor::from_slice(bytes).map_err(|error| CborError::Schema(error.to_string()))?;
    if encode(&value)? == bytes {
        Ok(value)
    } else {
        Err(CborError::NotDeterministic)
    }
}

/// Checks that `bytes` are exactly one item in deterministic encoding, made of unsigned integers,
/// texts, byte strings, arrays, maps with text keys, and booleans. *Pure.* Allocates nothing.
///
/// # Errors
/// The first [`CborError`] from the front.
pub fn check_deterministic(bytes: &[u8]) -> Result<(), CborError> {
    let mut walker = Walker { bytes, at: 0 };
    walker.item(0)?;
    match bytes.len().saturating_sub(walker.at) {
        0 => Ok(()),
        len => Err(CborError::Trailing { len }),
    }
}

/// Checks items from front to back.
struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walker<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], CborError> {
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len));
        let taken = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        let (end, taken) = taken.ok_or(CborError::Truncated {
            at: self.bytes.len(),
        })?;
        self.at = end;
        Ok(taken)
    }

    /// Returns major type and argument of the next head.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let at = self.at;
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let (major, low) = (first >> 5, first & 31);
        let width = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24..=27 => 1_u64 << (low & 3),
            31 => return Err(CborError::Indefinite { at }),
            _ => return Err(CborError::Type { at, major }),
        };
        let argument = self
            .take(width)?
            .iter()
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let minimum = match width {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1 << 32,
        };
        // The caller refuses a simple value in the long form (major 7) as a type that is not
        // allowed.
        if argument < minimum && major != 7 {
            Err(CborError::NotShortest { at })
        } else {
            Ok((major, argument))
        }
    }

    fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let at = self.at;
        if depth > MAX_MANIFEST_DEPTH {
            return Err(CborError::Depth {
                at,
                limit: MAX_MANIFEST_DEPTH,
            });
        }
        let inner = depth.saturating_add(1);
        match self.head()? {
            (0, _) => Ok(()),
            (2, len) => self.take(len).map(drop),
            (3, len) => match std::str::from_utf8(self.take(len)?) {
                Ok(_) => Ok(()),
                Err(_) => Err(CborError::NotUtf8 { at }),
            },
            (4, count) => (0..count).try_for_each(|_| self.item(inner)),
            (5, count) => self.map(count, inner),
            (7, 20 | 21) if self.at == at.saturating_add(1) => Ok(()),
            (major, _) => Err(CborError::Type { at, major }),
        }
    }

    fn map(&mut self, count: u64, inner: usize) -> Result<(), CborError> {
        let mut previous: &[u8] = &[];
        for _ in 0..count {
            let at = self.at;
            if self.bytes.get(at).is_some_and(|first| first >> 5 != 3) {
                return Err(CborError::KeyType { at });
            }
            self.item(inner)?;
            let key = self.bytes.get(at..self.at).unwrap_or_default();
            match previous.cmp(key) {
                Ordering::Less => previous = key,
                Ordering::Equal => return Err(CborError::DuplicateKey { at }),
                Ordering::Greater => return Err(CborError::KeyOrder { at }),
            }
            self.item(inner)?;
        }
        Ok(())
    }
}

/// A text as map key, ordered as deterministic CBOR demands: by length, then by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub String);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.cmp(&other.0))
    }
}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Bytes that are encoded as a byte string, not as an array of numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob<T>(pub T);

/// A SHA-256 digest.
pub type Digest = Blob<[u8; 32]>;

impl<T: AsRef<[u8]>> fmt::Debug for Blob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::hex(self.0.as_ref()))
    }
}
impl<T: AsRef<[u8]>> Serialize for Blob<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_ref())
    }
}
impl<'de, T: TryFrom<Vec<u8>>> Deserialize<'de> for Blob<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        let bytes = deserializer.deserialize_bytes(Bytes)?;
        let len = bytes.len();
        T::try_from(bytes).map(Self).map_err(|_| {
            D::Error::custom(format!(
                "byte string has an unexpected length of {len} bytes"
            ))
        })
    }
}
