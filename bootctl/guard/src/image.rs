//! A seal and the image that it signs.

use crate::disk::{BLOCK, IoError, Source};
use alloc::vec::Vec;
use record::{Reason, Release};
use seal::{
    Accepted, ImageDigest, Purpose, SEAL_LEN, Seal, SealError, Statement, TrustChain, VerifyError,
};
use sha2::{Digest as _, Sha256};

/// Maximum length of a boot or recovery image in bytes. Stops a signed but absurd length from
/// requesting all memory.
pub const IMAGE_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of one read.
const STEP: usize = 1024 * 1024;

/// An image whose bytes are signed by enough trusted keys.
#[derive(Debug)]
pub struct Verified {
    /// The signed statement.
    pub statement: Statement,
    /// Exactly the signed bytes of the EFI program.
    pub bytes: Vec<u8>,
}

/// Why an image is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The partition is missing, or is not the one that the record names.
    Missing,
    /// The medium returned an error.
    Read,
    /// The first 4 KiB are not a seal.
    Header(SealError),
    /// The signatures of the seal are not accepted.
    Signature(VerifyError),
    /// The statement has no image of this kind.
    NoImage,
    /// The signed length is longer than the partition or file: length, then maximum.
    TooLong(u64, u64),
    /// There is not enough memory for this number of bytes.
    Memory(u64),
    /// The bytes do not have the signed SHA-256.
    Damaged,
    /// Its release is not the one in the record.
    OtherRelease(seal::Text64),
    /// Its rollback index is below the floor: index, then floor.
    BelowFloor(u64, u64),
}

impl Refusal {
    /// Returns the reason for the record and the event ring. *Pure.*
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::Missing,
            Self::Read => Reason::ReadFailed,
            Self::Header(_) => Reason::HeaderDamaged,
            Self::Signature(VerifyError::Withdrawn { .. }) => Reason::Withdrawn,
            Self::Signature(VerifyError::TrustTooOld { .. }) => Reason::KeysUnknown,
            Self::Signature(_) => Reason::SignatureRefused,
            Self::NoImage | Self::TooLong(..) | Self::Damaged => Reason::ImageDamaged,
            Self::Memory(_) => Reason::LoadFailed,
            Self::OtherRelease(_) => Reason::OtherRelease,
            Self::BelowFloor(..) => Reason::BelowFloor,
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.reason().words())?;
        match self {
            Self::Missing | Self::Read | Self::Damaged => Ok(()),
            Self::Header(error) => write!(f, " ({error})"),
            Self::Signature(error) => write!(f, " ({error})"),
            Self::NoImage => f.write_str(" (its release has none)"),
            Self::TooLong(len, room) => {
                write!(f, " (signed length {len}, maximum {room})")
            }
            Self::Memory(len) => write!(f, " (no memory for {len} bytes)"),
            Self::OtherRelease(found) => write!(f, " (it holds {found})"),
            Self::BelowFloor(index, floor) => write!(f, " (rollback index {index}, floor {floor})"),
        }
    }
}
impl core::error::Error for Refusal {}

/// Reads and verifies only the seal. *Reads.*
///
/// # Errors
/// [`Refusal::Read`], [`Refusal::Header`] or [`Refusal::Signature`].
pub(crate) fn accepted<S: Source>(
    source: &mut S,
    chain: &TrustChain,
    purpose: Purpose,
) -> Result<Accepted, Refusal> {
    let mut block = [0; SEAL_LEN];
    source
        .read_at(0, &mut block)
        .map_err(|IoError| Refusal::Read)?;
    let seal = Seal::from_bytes(&block).map_err(Refusal::Header)?;
    chain.accept(&seal, purpose).map_err(Refusal::Signature)
}

/// Reads the bytes of `image` behind the seal and compares their SHA-256. *Reads* the medium once:
/// the bytes that are hashed are the bytes that are returned.
///
/// # Errors
/// [`Refusal`]; the length is checked before memory is allocated.
pub(crate) fn load<S: Source>(source: &mut S, image: &ImageDigest) -> Result<Vec<u8>, Refusal> {
    if image.len == 0 {
        return Err(Refusal::NoImage);
    }
    let room = source.len().saturating_sub(SEAL_LEN as u64).min(IMAGE_MAX);
    if image.len > room {
        return Err(Refusal::TooLong(image.len, room));
    }
    let len = image.len as usize;
    let mut bytes = Vec::new();
    let whole = len.next_multiple_of(BLOCK);
    bytes
        .try_reserve_exact(whole)
        .map_err(|_| Refusal::Memory(image.len))?;
    bytes.resize(whole, 0);
    for (part, offset) in bytes
        .chunks_mut(STEP)
        .zip((SEAL_LEN as u64..).step_by(STEP))
    {
        source
            .read_at(offset, part)
            .map_err(|IoError| Refusal::Read)?;
    }
    bytes.truncate(len);
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != image.sha256 {
        return Err(Refusal::Damaged);
    }
    Ok(bytes)
}

/// Reads and verifies the boot image of a slot, which must be `release` and not below `floor`.
/// *Reads.*
///
/// # Errors
/// [`Refusal`].
pub(crate) fn slot<S: Source>(
    source: &mut S,
    chain: &TrustChain,
    release: &Release,
    floor: u64,
) -> Result<Verified, Refusal> {
    let Accepted { statement, .. } = accepted(source, chain, Purpose::Release)?;
    let same = statement.version == release.version
        && statement.rollback_index == release.rollback_index
        && statement.manifest.sha256 == release.manifest_sha256;
    if !same {
        return Err(Refusal::OtherRelease(statement.version));
    }
    if statement.rollback_index < floor {
        return Err(Refusal::BelowFloor(statement.rollback_index, floor));
    }
    let bytes = load(source, &statement.boot)?;
    Ok(Verified { statement, bytes })
}

/// Reads and verifies a recovery image. *Reads.* Floor and release are not checked: recovery is the
/// last resort, and never writes a release below the floor.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn recovery<S: Source>(source: &mut S, chain: &TrustChain) -> Result<Verified, Refusal> {
    let Accepted { statement, .. } = accepted(source, chain, Purpose::Recovery)?;
    let bytes = load(source, &statement.recovery)?;
    Ok(Verified { statement, bytes })
}
