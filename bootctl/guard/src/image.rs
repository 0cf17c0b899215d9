//! A seal and the EFI program that it vouches for.

use crate::disk::{BLOCK, IoError};
use alloc::vec::Vec;
use record::{Reason, Release};
use seal::{ImageDigest, Purpose, SEAL_LEN, Seal, SealError, Statement, Trust, VerifyError};
use sha2::{Digest as _, Sha256};

/// Longest boot or recovery image in bytes. Stops a signed but absurd length from asking for all
/// memory.
pub const IMAGE_MAX: u64 = 512 * 1024 * 1024;
/// Bytes that are read at once.
const STEP: usize = 1024 * 1024;

/// Where a seal and the image behind it stand.
pub trait Source {
    /// Length in bytes, seal included.
    fn len(&self) -> u64;
    /// Whether it holds nothing at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads `into.len()` bytes from `offset`, both multiples of [`BLOCK`]; behind the end of a
    /// file there are zeroes up to the next multiple.
    ///
    /// # Errors
    /// [`IoError`].
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError>;
}

/// An image whose bytes are the ones that enough trusted keys have signed.
#[derive(Debug)]
pub struct Verified {
    /// What is signed.
    pub statement: Statement,
    /// Exactly the signed bytes of the EFI program.
    pub bytes: Vec<u8>,
}

/// Why an image is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The partition is not there, or is not the one that the record names.
    Missing,
    /// The medium gave an error.
    Read,
    /// The first 4 KiB are not a seal.
    Header(SealError),
    /// The seal is not accepted.
    Signature(VerifyError),
    /// The statement names no image of this kind.
    NoImage,
    /// The signed length does not fit where the image is said to be: length, then room.
    TooLong(u64, u64),
    /// There is not so much memory: bytes asked for.
    Memory(u64),
    /// The bytes do not have the signed SHA-256.
    Damaged,
    /// Its release is not the one in the record.
    OtherRelease(seal::Text64),
    /// Its rollback index is below the floor: index, then floor.
    BelowFloor(u64, u64),
}

impl Refusal {
    /// The reason that goes into the record and the event ring.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::Missing,
            Self::Read => Reason::ReadFailed,
            Self::Header(_) => Reason::HeaderDamaged,
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
                write!(f, " ({len} bytes are signed, there is room for {room})")
            }
            Self::Memory(len) => write!(f, " (no memory for {len} bytes)"),
            Self::OtherRelease(found) => write!(f, " (it holds {found})"),
            Self::BelowFloor(index, floor) => write!(f, " (rollback index {index}, floor {floor})"),
        }
    }
}
impl core::error::Error for Refusal {}

/// Reads and verifies the seal alone. *Reads.*
///
/// # Errors
/// [`Refusal::Read`], [`Refusal::Header`] or [`Refusal::Signature`].
pub(crate) fn statement<S: Source>(
    source: &mut S,
    trust: &Trust,
    purpose: Purpose,
) -> Result<Statement, Refusal> {
    let mut block = [0; SEAL_LEN];
    source
        .read_at(0, &mut block)
        .map_err(|IoError| Refusal::Read)?;
    let seal = Seal::from_bytes(&block).map_err(Refusal::Header)?;
    seal.verify(trust, purpose).map_err(Refusal::Signature)
}

/// Reads the bytes of `image`, which stand behind the seal, and compares their SHA-256. *Reads*;
/// the bytes that are hashed are the bytes that are returned, and the medium is read once.
///
/// # Errors
/// [`Refusal`]; the length is checked before memory is asked for.
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
    trust: &Trust,
    release: &Release,
    floor: u64,
) -> Result<Verified, Refusal> {
    let statement = statement(source, trust, Purpose::Release)?;
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

/// Reads and verifies a recovery image. *Reads.* Neither floor nor release is asked for: recovery
/// is the last resort, and writes nothing that is below the floor.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn recovery<S: Source>(source: &mut S, trust: &Trust) -> Result<Verified, Refusal> {
    let statement = statement(source, trust, Purpose::Recovery)?;
    let bytes = load(source, &statement.recovery)?;
    Ok(Verified { statement, bytes })
}
