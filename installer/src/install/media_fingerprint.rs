//! What a medium leaves on a disk that it installed: by it the medium knows, when the firmware
//! starts it again, that its work is done. Without it `erase` in its answers would install anew at
//! each boot.

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};
use std::io;

/// Byte offset of the mark in the state partition: between the first copy of the record and the
/// event ring.
pub const FINGERPRINT_OFFSET: u64 = 8192;
const LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"RAYOSMED";

/// SHA-256 of a medium's answers and of what it installs. Whoever changes either has another
/// medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaFingerprint([u8; 32]);

impl MediaFingerprint {
    /// The mark of a medium with this answers file and this bundle: the seal of a file, or the
    /// address of another. *Pure.*
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

    /// The mark that stands on `disk`; `None` if there is none. *Reads.*
    ///
    /// # Errors
    /// What the device says.
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

    /// Writes it into the state partition that begins at `state`. Durable after the next flush.
    ///
    /// # Errors
    /// What the device says.
    ///
    /// # Power loss
    /// All of it is in one sector: it is there or it is not.
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
    fn another_answer_or_another_bundle_is_another_medium() {
        let mark = MediaFingerprint::of(b"version = 1", b"seal");
        assert_eq!(mark, MediaFingerprint::of(b"version = 1", b"seal"));
        assert_ne!(mark, MediaFingerprint::of(b"version = 1\n", b"seal"));
        assert_ne!(mark, MediaFingerprint::of(b"version = 1", b"other"));
        assert_ne!(
            mark,
            MediaFingerprint::of(b"version = 1s", b"eal"),
            "the parts are told apart"
        );
        let (mut first, mut second) = (vec![1; SEAL_LEN + 1], vec![1; SEAL_LEN + 2]);
        assert_eq!(
            MediaFingerprint::of(b"", &first),
            MediaFingerprint::of(b"", &second),
            "the seal vouches for the rest"
        );
        first[SEAL_LEN - 1] = 2;
        second[0] = 2;
        assert_ne!(
            MediaFingerprint::of(b"", &first),
            MediaFingerprint::of(b"", &second)
        );
    }
}
