//! The copies of the boot guard on the EFI system partition: written by an installation, and again
//! by a repair.

use super::fat::{self, EspContent, EspFile};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use bootctl::secure_boot::is_signed;
use bootctl::store::{RecordStore, StoreError};
use record::Pair;
use std::io;

/// Path that firmware starts on a disk without boot entries (UEFI 2.10, 3.5.1.1).
pub const REMOVABLE_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// Paths of the guard's copies on an installed disk: the removable path, and one for each boot
/// entry.
pub const GUARD_PATHS: [&str; 4] = [
    REMOVABLE_PATH,
    "EFI/RAYOS/GUARDA.EFI",
    "EFI/RAYOS/GUARDB.EFI",
    "EFI/RAYOS/GUARDR.EFI",
];

/// Why the guard was not written. The disk is unchanged, except after [`RepairError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The disk holds no installation, or no EFI system partition.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The boot record cannot be read.
    #[error("boot record: {0}")]
    Record(#[from] StoreError),
    /// The guard belongs to a release below the rollback floor.
    #[error("guard has rollback index {index}: this machine accepts {floor} or higher")]
    BelowFloor {
        /// Rollback index of the release.
        index: u64,
        /// Rollback floor in the boot record.
        floor: u64,
    },
    /// The partition contains a file that an installation does not write.
    #[error("EFI system partition: {0} would be deleted")]
    OtherFiles(String),
    /// The EFI system partition belongs to another system.
    #[error("EFI system partition: none on this disk ends where rayos-state starts")]
    NotOurEsp,
    /// Secure Boot is on, and the guard is not signed.
    #[error(
        "the guard is not signed for Secure Boot, which is on: the firmware would not start it"
    )]
    Unsigned,
    /// The EFI system partition cannot be written, or reads back different bytes.
    #[error("EFI system partition: {0}")]
    Io(#[from] io::Error),
}

/// A boot guard to write.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// The program.
    pub program: &'a [u8],
    /// Rollback index of its release.
    pub rollback_index: u64,
}

impl Guard<'_> {
    /// Rewrites the EFI system partition of `disk` if a copy of the guard is missing or differs;
    /// returns the paths of these copies. *Writes* only in that case, and only that partition;
    /// durable on return.
    ///
    /// A guard below the rollback floor is refused, if a boot record can be read. `overwrite`
    /// permits the loss of other files.
    ///
    /// # Errors
    /// [`RepairError`].
    ///
    /// # Power loss
    /// The firmware finds no file system on the partition until this returns, and starts the medium
    /// that the caller runs from. The same call then completes the repair.
    pub fn repair(
        &self,
        disk: &Disk,
        must_be_signed: bool,
        overwrite: bool,
    ) -> Result<Vec<&'static str>, RepairError> {
        let esp = disk.esp()?;
        if esp.start().checked_add(esp.len()) != Some(disk.state()?.start()) {
            return Err(RepairError::NotOurEsp);
        }
        let floor = match RecordStore::open(disk)?.pair() {
            // Without a record the guard decides by the seals of the slots.
            Pair::Lost(_) => 0,
            _ => RecordStore::open(disk)?.read()?.floor,
        };
        if self.rollback_index < floor {
            return Err(RepairError::BelowFloor {
                index: self.rollback_index,
                floor,
            });
        }
        if must_be_signed && is_signed(self.program) != Ok(true) {
            return Err(RepairError::Unsigned);
        }
        let missing = missing_copies(&esp, self.program);
        if missing.is_empty() {
            return Ok(missing);
        }
        if !overwrite && let Some(path) = other_file(&esp) {
            return Err(RepairError::OtherFiles(path));
        }
        write_copies(&esp, volume_id(disk.guid()), self.program)?;
        Ok(missing)
    }
}

/// Returns the paths on `esp` where `guard` is missing or differs: all of them if there is no file
/// system. *Reads*, bypassing the cache.
#[must_use]
pub fn missing_copies(esp: &dyn BlockDevice, guard: &[u8]) -> Vec<&'static str> {
    let is_at = |path| fat::read(esp, path, guard.len()).is_ok_and(|read| read == guard);
    GUARD_PATHS
        .into_iter()
        .filter(|path| !is_at(path))
        .collect()
}

/// Creates the file system of `esp` with all copies of `guard`, and reads them back. *Writes*,
/// durable on return.
///
/// # Errors
/// The error of the device; an error for a copy that reads back different bytes.
///
/// # Power loss
/// As [`fat::create`]: the firmware finds no file system until this returns.
pub(crate) fn write_copies(esp: &dyn BlockDevice, volume_id: u32, guard: &[u8]) -> io::Result<()> {
    let mut files: Vec<EspFile<'_>> = GUARD_PATHS
        .iter()
        .map(|path| EspFile::new(path, guard))
        .collect();
    fat::create(esp, 0, esp.len(), volume_id, &mut files)?;
    match missing_copies(esp, guard).first() {
        None => Ok(()),
        Some(path) => Err(io::Error::other(format!(
            "{path}: reads back different bytes than were written"
        ))),
    }
}

/// Returns the serial number of the file system, taken from the GUID of its disk. *Pure.*
pub(crate) const fn volume_id(disk: record::Guid) -> u32 {
    let [a, b, c, d, ..] = disk.0;
    u32::from_le_bytes([a, b, c, d])
}

/// Reports whether an installation writes this path. Names on FAT have no case. *Pure.*
fn is_guard_path(path: &str) -> bool {
    GUARD_PATHS
        .iter()
        .any(|ours| ours.eq_ignore_ascii_case(path))
}

/// Returns a file on `esp` that an installation does not write. *Reads.* A file system that cannot
/// be read has none.
fn other_file(esp: &dyn BlockDevice) -> Option<String> {
    match fat::inspect(esp) {
        Ok(EspContent::Files(files)) => files.into_iter().find(|path| !is_guard_path(path)),
        Ok(EspContent::Other) => {
            Some("a file system that is damaged or of another system".to_owned())
        }
        Ok(EspContent::Nothing) | Err(_) => None,
    }
}
