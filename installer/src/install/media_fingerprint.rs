//! The fingerprint that a medium writes to a disk that it installed. When the firmware starts the
//! medium again, it recognises its own installation; without that, `erase` in the answers would
//! install again at each boot.

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};
use std::io;

/// Byte offset in the state partition: between the first copy of the record and the event ring.
pub const FINGERPRINT_OFFSET: u64 = 8192;
const LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"RAYOSMED";

/// SHA-256 of the answers and of the seal of the bundle. A change of either makes another medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaFingerprint([u8; 32]);

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

    /// Reads the fingerprint on `disk`; `None` if there is none. *Reads.*
    ///
    /// # Errors
    /// The error of the device.
    pub fn read(disk: &Disk) -> io::Result<Option<Self>> {
        let Ok(state) = disk.state() else {
            return Ok(None);
        };
        let mut block = [0; LEN];
        state.read_at(FINGERPRINT_OFFSET, &mut block)?;
        let (magic, rest) = block.split_at(MAGIC.len());
        Ok(rest
            .first_chunk()
            .filter(|_| magic == MAGIC)
            .copied()
            .map(Self))
    }

    /// Writes the fingerprint to the state partition that starts at byte `state`. *Writes*; durable
    /// after the next flush.
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// The fingerprint is complete or missing: it is in one sector.
    pub(crate) fn write(&self, device: &dyn BlockDevice, state: u64) -> io::Result<()> {
        let mut block = [0; LEN];
        block[..MAGIC.len()].copy_from_slice(MAGIC);
        block[MAGIC.len()..MAGIC.len() + self.0.len()].copy_from_slice(&self.0);
        device.write_at(state + FINGERPRINT_OFFSET, &block)
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
