//! Restoring the boot guard to a disk whose EFI system partition has no file system any more.

use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::disk::{Disk, DiskError};
use installer::esp;
use installer::esp::guards::{Guard, RepairError};
use installer::media::{MediaError, images};
use seal::Trust;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Why the boot guard was not restored.
#[derive(Debug, thiserror::Error)]
pub enum GuardRepairError {
    /// The disk cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk holds no installation.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The EFI system partition cannot be read.
    #[error("EFI system partition: {0}")]
    Read(io::Error),
    /// The threads that read the bundle cannot be started.
    #[error("threads: {0}")]
    Threads(io::Error),
    /// The bundle is not acceptable.
    #[error(transparent)]
    Bundle(#[from] MediaError),
    /// The guard was refused or cannot be written.
    #[error(transparent)]
    Repair(#[from] RepairError),
}

/// Reports whether the firmware finds no file system on the EFI system partition of `disk`.
/// *Reads.*
///
/// # Errors
/// [`GuardRepairError::Open`], [`GuardRepairError::Disk`], [`GuardRepairError::Read`].
pub fn is_needed(disk: &Path) -> Result<bool, GuardRepairError> {
    let esp = open(disk, Access::Read)?.esp()?;
    let found = esp::inspect(&esp).map_err(GuardRepairError::Read)?;
    Ok(found == esp::EspContent::Nothing)
}

/// Writes the guard in `bundle` to the EFI system partition of `disk`. *Writes*, durable on return.
///
/// Only for a disk that [`is_needed`] names: less damage than that is left to the operator, who has
/// `rayos-installer repair-esp`.
///
/// # Errors
/// [`GuardRepairError`].
///
/// # Power loss
/// The firmware finds no file system on the partition until this returns, and starts the medium
/// again.
pub fn restore(
    disk: &Path,
    bundle: &Path,
    trust: &Trust,
    must_be_signed: bool,
) -> Result<(), GuardRepairError> {
    let disk = open(disk, Access::Write)?;
    let images =
        installer::host::block_on(images(bundle, trust)).map_err(GuardRepairError::Threads)??;
    let guard = Guard {
        program: &images.guard,
        rollback_index: images.rollback_index,
        compatible: &images.compatible,
    };
    guard.repair(&disk, must_be_signed, false)?;
    Ok(())
}

fn open(disk: &Path, access: Access) -> Result<Disk, GuardRepairError> {
    let device = FileDevice::open(disk, access, SectorSize::Detect)?;
    Ok(Disk::open(Arc::new(device))?)
}
