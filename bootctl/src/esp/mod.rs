//! The EFI system partition: its file system, and the copies of the boot guard in it.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fat`] | the file system: created, read, listed |

pub mod fat;

use crate::disk::Disk;
use crate::disk::device::BlockDevice as _;
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
/// Maximum length of a guard in bytes, because a guard is kept in memory.
pub const MAX_GUARD: usize = 4 << 20;

/// A copy of the boot guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardCopy {
    /// Its path on the EFI system partition.
    pub path: &'static str,
    /// The program, at most [`MAX_GUARD`] bytes.
    pub program: Vec<u8>,
}

/// Returns the copies of the boot guard on the EFI system partition of `disk` that can be read.
/// *Reads*, bypassing the cache.
///
/// # Errors
/// An error if the disk has no EFI system partition of ours, or if that holds no file system that
/// an installation created.
pub fn guard_copies(disk: &Disk) -> io::Result<Vec<GuardCopy>> {
    let esp = disk.esp().map_err(io::Error::other)?;
    let state = disk.state().map_err(io::Error::other)?;
    if esp.start().checked_add(esp.len()) != Some(state.start()) {
        return Err(io::Error::other("none ends where rayos-state begins"));
    }
    let files = fat::read_each(&esp, &GUARD_PATHS, MAX_GUARD)?;
    let copies = GUARD_PATHS.into_iter().zip(files);
    let whole = copies.filter_map(|(path, file)| {
        let program = file.ok().filter(|program| program.len() <= MAX_GUARD)?;
        Some(GuardCopy { path, program })
    });
    Ok(whole.collect())
}
