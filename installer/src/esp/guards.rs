//! The copies of the boot guard on the EFI system partition: written by an installation, and again
//! by a repair.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bootctl::esp::GUARD_PATHS;
use bootctl::esp::fat::{self, EspContent, EspFile};
use bootctl::links;
use bootctl::secure_boot::is_signed;
use bootctl::store::{RecordStore, StoreError};
use bundle::Release;
use bundle::trust::pe::{GuardError, check_guard, guard_chain};
use record::{Pair, PartitionName, Record, Slot};
use seal::{Link, Purpose, SEAL_LEN, Seal};
use std::io;

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
    /// The guard is for other hardware.
    #[error("guard is compatible with {offered}: this machine is {machine}")]
    Incompatible {
        /// Hardware that its release is compatible with.
        offered: String,
        /// Hardware of this machine.
        machine: String,
    },
    /// The guard would refuse what is on the disk.
    #[error(transparent)]
    Guard(#[from] GuardError),
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
    /// Hardware that its release is compatible with.
    pub compatible: &'a [String],
}

impl Guard<'_> {
    /// Rewrites the EFI system partition of `disk` if a copy of the guard is missing or differs;
    /// returns the paths of these copies. *Writes* only in that case, and only that partition;
    /// durable on return.
    ///
    /// A guard below the rollback floor or for other hardware is refused, if a boot record can be
    /// read. So is one that does not accept the seals in recovery and in the slots that can be
    /// started: it would leave nothing to start. `overwrite` permits the loss of other files.
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
        let record = match RecordStore::open(disk)?.pair() {
            // Without a record the guard decides by the seals of the slots.
            Pair::Lost(_) => None,
            _ => Some(RecordStore::open(disk)?.read()?),
        };
        if let Some(record) = &record {
            self.check_release(record)?;
        }
        self.check_seals(disk, record.as_ref())?;
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

    fn check_release(&self, record: &Record) -> Result<(), RepairError> {
        let (index, floor) = (self.rollback_index, record.floor);
        if index < floor {
            return Err(RepairError::BelowFloor { index, floor });
        }
        let machine = record.compatible.as_str();
        // A rebuilt record has no name.
        if !machine.is_empty() && !self.compatible.iter().any(|name| name == machine) {
            return Err(RepairError::Incompatible {
                offered: self.compatible.join(", "),
                machine: machine.to_owned(),
            });
        }
        Ok(())
    }

    /// Checks the guard against each seal that it would have to accept. *Reads.* A header that is
    /// empty, damaged or unreadable is refused by every guard, and does not count.
    fn check_seals(&self, disk: &Disk, record: Option<&Record>) -> Result<(), RepairError> {
        let floor = record.map_or(0, |record| record.trust_floor);
        let chain = guard_chain(self.program, &links::read(disk))?.with_floor(floor);
        let is_needed = |slot: &Slot| record.is_none_or(|record| record.slot(*slot).is_bootable());
        let slots = Slot::ALL.into_iter().filter(is_needed);
        let sealed = slots
            .map(|slot| (PartitionName::boot(slot), Purpose::Release))
            .chain([(PartitionName::Recovery, Purpose::Recovery)]);
        for (name, purpose) in sealed {
            let Ok(partition) = disk.partition(name) else {
                continue;
            };
            if let Some(seal) = read_seal(&partition) {
                check_guard(&chain, name.as_str(), &seal, &[purpose])?;
            }
        }
        Ok(())
    }
}

/// Returns the seal at the beginning of `partition`; `None` if it has none. *Reads*, bypassing the
/// cache.
fn read_seal(partition: &Window) -> Option<Seal> {
    let mut header = [0; SEAL_LEN];
    partition.read_medium_at(0, &mut header).ok()?;
    Seal::from_bytes(&header).ok()
}

/// Checks that the guard `program` accepts the seal of `release`, as the boot image of a slot and as
/// the recovery image, on a disk with these trust links and this trust floor. *Pure.* A medium has
/// neither. Returns a warning if it is no EFI program at all, and so has no keys to compare.
///
/// # Errors
/// [`GuardError`].
pub fn check(
    program: &[u8],
    release: &Release,
    links: &[Link],
    trust_floor: u64,
) -> Result<Option<GuardError>, GuardError> {
    let what = format!("release {}", release.statement().version);
    let purposes = [Purpose::Release, Purpose::Recovery];
    let checked = guard_chain(program, links).and_then(|chain| {
        let chain = chain.with_floor(trust_floor);
        check_guard(&chain, &what, release.seal(), &purposes)
    });
    match checked {
        Ok(()) => Ok(None),
        Err(error) if error.is_no_program() => Ok(Some(error)),
        Err(error) => Err(error),
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
