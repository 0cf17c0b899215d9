//! Evidence for a lost boot record: the signed seals in the boot partitions.

use crate::disk::device::BlockDevice;
use crate::disk::{Disk, DiskError, Window};
use crate::state::log::EventLog;
use record::{Evidence, Reason, Slot, hash_range};
use seal::{Accepted, Purpose, SEAL_LEN, Seal, SealError, TrustChain, VerifyError};
use std::io;

/// Bytes of one read.
const READ_LEN: usize = 1024 * 1024;

/// Why a boot partition is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The partition is missing.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The partition cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first 4 KiB of the partition are not a seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The signatures of the seal are not accepted.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    /// The sealed image is longer than the partition.
    #[error("boot image: length {len}, maximum {room}")]
    TooLong {
        /// Length in the seal.
        len: u64,
        /// Bytes of the partition after the seal.
        room: u64,
    },
    /// The image is not the one that was signed.
    #[error("boot image: SHA-256 differs from the signed one")]
    Image,
}

impl EvidenceError {
    /// Returns the reason in the record for not starting the slot. *Pure.*
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Disk(_) => Reason::Missing,
            Self::Io(_) => Reason::ReadFailed,
            Self::Seal(_) => Reason::HeaderDamaged,
            Self::Refused(VerifyError::Withdrawn { .. }) => Reason::Withdrawn,
            Self::Refused(VerifyError::TrustTooOld { .. }) => Reason::KeysUnknown,
            Self::Refused(_) => Reason::SignatureRefused,
            Self::TooLong { .. } | Self::Image => Reason::ImageDamaged,
        }
    }
}

/// Returns the evidence for a rebuilt record, and for each slot the reason why it is none. *Reads*
/// both boot images completely.
pub fn gather(disk: &Disk, chain: &TrustChain) -> (Evidence, [Option<EvidenceError>; 2]) {
    let [a, b] = Slot::ALL.map(|slot| {
        disk.boot(slot)
            .map_err(Into::into)
            .and_then(|boot| verified(&boot, chain))
    });
    let events = EventLog::open(disk)
        .and_then(|log| log.events())
        .unwrap_or_default();
    let seq_seen = events
        .iter()
        .map(|event| event.record_seq)
        .max()
        .unwrap_or(0);
    let sealed = [&a, &b].map(|found| {
        found
            .as_ref()
            .map_or_else(|error| Err(error.reason()), |found| Ok(*found))
    });
    let evidence = Evidence {
        sealed,
        recovery_epoch: recovery_epoch(disk, chain),
        seq_seen,
    };
    (evidence, [a.err(), b.err()])
}

/// Returns the highest key epoch that accepts the seal of recovery. *Reads.*
fn recovery_epoch(disk: &Disk, chain: &TrustChain) -> Option<u64> {
    let mut block = [0; SEAL_LEN];
    disk.recovery().ok()?.read_at(0, &mut block).ok()?;
    let accepted = chain.accept(&Seal::from_bytes(&block).ok()?, Purpose::Recovery);
    accepted.ok().map(|found| found.epoch)
}

/// Returns what the seal of a boot partition says, if the signatures are accepted and the
/// image is the signed one. *Reads* the image completely.
///
/// # Errors
/// [`EvidenceError`].
pub fn verified(boot: &Window, chain: &TrustChain) -> Result<Accepted, EvidenceError> {
    let mut block = [0; SEAL_LEN];
    boot.read_at(0, &mut block)?;
    let accepted = chain.accept(&Seal::from_bytes(&block)?, Purpose::Release)?;
    let statement = accepted.statement;
    let room = boot.len().saturating_sub(SEAL_LEN as u64);
    let len = statement.boot.len;
    if len > room {
        return Err(EvidenceError::TooLong { len, room });
    }
    let mut buffer = vec![0; READ_LEN];
    let image: &dyn BlockDevice = boot;
    let sha256 = hash_range(image, SEAL_LEN as u64, len, &mut buffer)
        .map_err(|error| EvidenceError::Io(error.source))?;
    if sha256 == statement.boot.sha256 {
        Ok(accepted)
    } else {
        Err(EvidenceError::Image)
    }
}
