//! The copies of the guard on the EFI system partition: placed by an installation, and again when
//! they were lost.

use crate::esp::fat::{self, EspContent, EspFile, GUARD_PATHS};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use bootctl::secure_boot::is_signed;
use bootctl::store::{RecordStore, StoreError};
use record::Pair;
use std::io;

/// Why the guard was not placed. The disk is as it was, but for [`RepairError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It is not one of our disks, or has no EFI system partition.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The boot record cannot be read.
    #[error("boot record: {0}")]
    Record(#[from] StoreError),
    /// The guard comes out of a release older than this machine accepts.
    #[error(
        "the guard is of a release with rollback index {index}, this machine accepts {floor} and above"
    )]
    BelowFloor {
        /// Of the release.
        index: u64,
        /// Of the record.
        floor: u64,
    },
    /// The partition holds what an installation did not put there, and all of it would be lost.
    #[error("the EFI system partition holds {0}, which would be lost")]
    OtherFiles(String),
    /// No EFI system partition is where ours has to be; what is there is another system's.
    #[error("no EFI system partition ends where rayos-state begins: none on this disk is ours")]
    NotOurEsp,
    /// Secure Boot is on.
    #[error(
        "the guard is not signed for Secure Boot, which is on: the firmware would not start it"
    )]
    Unsigned,
    /// The EFI system partition cannot be written, or does not hold what was written.
    #[error("EFI system partition: {0}")]
    Io(#[from] io::Error),
}

/// The guard that shall be in all of its places.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// The program.
    pub program: &'a [u8],
    /// Rollback index of the release that it comes out of.
    pub rollback_index: u64,
}

impl Guard<'_> {
    /// Makes the EFI system partition of `disk` anew if a copy of the guard is missing_copies; gives the
    /// places that lacked it. *Writes*, durable on return, only if there are some, and only that
    /// partition.
    ///
    /// Nothing older than the floor is placed, where a boot record still tells it. `overwrite`
    /// gives up files that are not the guard.
    ///
    /// # Errors
    /// [`RepairError`].
    ///
    /// # Power loss
    /// Firmware finds no file system on the partition until this returns: the machine then starts
    /// from the medium that this was begun from, and the same call goes on.
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
            // Without a record the guard goes by the sealed slots, and their signatures.
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
        let missing_copies = missing_copies(&esp, self.program);
        if missing_copies.is_empty() {
            return Ok(missing_copies);
        }
        if !overwrite && let Some(what) = other_file(&esp) {
            return Err(RepairError::OtherFiles(what));
        }
        write_copies(&esp, volume_id(disk.guid()), self.program)?;
        Ok(missing_copies)
    }
}

/// The places on `esp` where `guard` is not, byte for byte; all of them if there is no file system.
/// *Reads*, from the medium.
#[must_use]
pub fn missing_copies(esp: &dyn BlockDevice, guard: &[u8]) -> Vec<&'static str> {
    let is_at = |path| fat::read(esp, path, guard.len()).is_ok_and(|read| read == guard);
    GUARD_PATHS
        .into_iter()
        .filter(|path| !is_at(path))
        .collect()
}

/// Makes the file system of `esp` with `guard` in all places, and reads it back. *Writes*, durable
/// on return.
///
/// # Errors
/// What the device says, and that it holds something else than was written.
///
/// # Power loss
/// As [`fat::create`]: firmware finds no file system there until this returns.
pub(crate) fn write_copies(esp: &dyn BlockDevice, volume_id: u32, guard: &[u8]) -> io::Result<()> {
    let mut files: Vec<EspFile<'_>> = GUARD_PATHS
        .iter()
        .map(|path| EspFile::new(path, guard))
        .collect();
    fat::create(esp, 0, esp.len(), volume_id, &mut files)?;
    match missing_copies(esp, guard).first() {
        None => Ok(()),
        Some(path) => Err(io::Error::other(format!(
            "{path} reads back differently than it was written"
        ))),
    }
}

/// The serial number of the file system, of that of its disk. *Pure.*
pub(crate) const fn volume_id(disk: record::Guid) -> u32 {
    let [a, b, c, d, ..] = disk.0;
    u32::from_le_bytes([a, b, c, d])
}

/// Whether an installation puts a file there. Names on FAT have no case.
fn is_guard_path(path: &str) -> bool {
    GUARD_PATHS
        .iter()
        .any(|ours| ours.eq_ignore_ascii_case(path))
}

/// What on `esp` would be lost and was not put there by an installation. What cannot be read is
/// lost already.
fn other_file(esp: &dyn BlockDevice) -> Option<String> {
    match fat::inspect(esp) {
        Ok(EspContent::Files(files)) => files.into_iter().find(|path| !is_guard_path(path)),
        Ok(EspContent::Other) => {
            Some("a file system that is not as an installation makes it".to_owned())
        }
        Ok(EspContent::Nothing) | Err(_) => None,
    }
}
