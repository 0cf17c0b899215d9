//! The fingerprint that a medium writes to a disk that it installed. When the firmware starts the
//! medium again, it recognises its own installation; without that, `erase` in the answers would
//! install again at each boot.
//!
//! There are two copies, each with a checksum, and every installation writes them, also one without
//! a medium. So a fingerprint that is not there is damage, and never a reason to erase a disk.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use record::STATE_LEN;
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};
use std::io;

const LEN: usize = 4096;
/// Byte offsets of the copies in the state partition: each between a copy of the record and the
/// event ring.
pub const FINGERPRINT_OFFSETS: [u64; 2] = [8192, STATE_LEN - 3 * LEN as u64];
const MAGIC: &[u8; 8] = b"RAYOSMED";
/// Length of magic and fingerprint, which the checksum covers.
const COVERED: usize = MAGIC.len() + 32;
/// Stands for an installation without a medium.
const NO_MEDIUM: [u8; 32] = [0; 32];

/// SHA-256 of the answers and of the seal of the bundle. A change of either makes another medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaFingerprint([u8; 32]);

/// Why one copy of the fingerprint is not used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk returned an error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its bytes are not a fingerprint with a valid checksum.
    #[error("damaged")]
    Damaged,
}

/// Why it is not known which medium installed a disk.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The disk has no usable state partition.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// Neither copy is readable.
    #[error("media fingerprint is lost: copy 0: {}; copy 1: {}", .0[0], .0[1])]
    Lost([CopyError; 2]),
    /// Both copies are readable, and they differ.
    #[error("media fingerprint: the two copies differ")]
    Differ,
}

impl MediaFingerprint {
    /// Returns the fingerprint of a medium. *Pure.* `bundle` starts with the seal of a bundle file,
    /// or is the URL of a bundle.
    #[must_use]
    pub fn of(answers: &[u8], bundle: &[u8]) -> Self {
        let mut digest = Sha256::new();
        for part in [
            b"rayos-medium-v1".as_slice(),
            answers,
            &bundle[..bundle.len().min(SEAL_LEN)],
        ] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    /// Reads the fingerprint of the medium that installed `disk`; `None` for an installation
    /// without a medium. *Reads.* One readable copy is enough.
    ///
    /// # Errors
    /// [`FingerprintError`]: it is not known whether a medium installed the disk.
    pub fn read(disk: &Disk) -> Result<Option<Self>, FingerprintError> {
        let state = disk.state()?;
        let found = match FINGERPRINT_OFFSETS.map(|offset| read_copy(&state, offset)) {
            [Ok(first), Ok(second)] if first != second => return Err(FingerprintError::Differ),
            [Ok(found), _] | [_, Ok(found)] => found,
            [Err(first), Err(second)] => return Err(FingerprintError::Lost([first, second])),
        };
        Ok((found != NO_MEDIUM).then_some(Self(found)))
    }

    /// Writes both copies of the fingerprint, or of the absence of one, to the state partition that
    /// starts at byte `state`. *Writes*; durable after the next flush.
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// Either copy may be missing. The record on the disk is that of an unfinished installation,
    /// which is not asked for its medium.
    pub(crate) fn write(
        fingerprint: Option<Self>,
        device: &dyn BlockDevice,
        state: u64,
    ) -> io::Result<()> {
        let mut block = [0; LEN];
        let fingerprint = fingerprint.map_or(NO_MEDIUM, |it| it.0);
        block[..MAGIC.len()].copy_from_slice(MAGIC);
        block[MAGIC.len()..COVERED].copy_from_slice(&fingerprint);
        let checksum = Sha256::digest(&block[..COVERED]);
        block[COVERED..COVERED + 32].copy_from_slice(&checksum);
        FINGERPRINT_OFFSETS
            .into_iter()
            .try_for_each(|offset| device.write_at(state + offset, &block))
    }
}

/// Reads one copy.
fn read_copy(state: &dyn BlockDevice, offset: u64) -> Result<[u8; 32], CopyError> {
    let mut block = [0; LEN];
    state.read_at(offset, &mut block)?;
    let (covered, rest) = block.split_at(COVERED);
    let is_valid = rest.starts_with(&Sha256::digest(covered));
    let (magic, fingerprint) = covered.split_at(MAGIC.len());
    match fingerprint.try_into() {
        Ok(fingerprint) if is_valid && magic == MAGIC => Ok(fingerprint),
        _ => Err(CopyError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_answers_or_another_bundle_have_another_fingerprint() {
        let mark = MediaFingerprint::of(b"version = 1", b"seal");
        assert_eq!(mark, MediaFingerprint::of(b"version = 1", b"seal"));
        assert_ne!(mark, MediaFingerprint::of(b"version = 1\n", b"seal"));
        assert_ne!(mark, MediaFingerprint::of(b"version = 1", b"other"));
        assert_ne!(
            mark,
            MediaFingerprint::of(b"version = 1s", b"eal"),
            "the length of each part counts"
        );
        let (mut first, mut second) = (vec![1; SEAL_LEN + 1], vec![1; SEAL_LEN + 2]);
        assert_eq!(
            MediaFingerprint::of(b"", &first),
            MediaFingerprint::of(b"", &second),
            "the seal covers the rest"
        );
        first[SEAL_LEN - 1] = 2;
        second[0] = 2;
        assert_ne!(
            MediaFingerprint::of(b"", &first),
            MediaFingerprint::of(b"", &second)
        );
    }
}
