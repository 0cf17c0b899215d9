//! The guard is loaded from another disk, a stick or an ISO.

use super::{GAVE_UP, Installed, TOLD, on_trial, said};
use crate::Lab;
use crate::disk::{self, ESP};
use anyhow::{Result, ensure};
use record::{Slot, Status};

/// The guard is on one disk, the system on another.
pub(super) fn second_disk(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "second-disk")?;
    let len = installed.disk.len(ESP);
    installed.disk.write(ESP, 0, &vec![0; len]);
    let mut first = disk::fat(16 << 20, 512, &[("EFI/BOOT/BOOTX64.EFI", &lab.guard)])?;
    let Installed {
        machine,
        disk: system,
        ..
    } = &mut installed;
    let console = machine.boot(&mut [(&mut first, 512), (&mut system.bytes, 512)], &[])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)",
    )?;
    said(&console, TOLD)?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    Ok(())
}

/// The guard on a stick starts the recovery image beside it, although a disk holds a system.
pub(super) fn media(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "media")?;
    let before = installed.disk.bytes.clone();
    let image = lab.payload("reset");
    let (seal, _) = disk::release("2.0.0", 9, &image, &disk::key())?;
    let file = disk::sealed(&seal, &image);
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]),
        ("EFI/RAYOS/RECOVERY.IMG", &file),
    ];
    let mut stick = disk::fat(16 << 20, 512, &files)?;
    let Installed {
        machine,
        disk: system,
        ..
    } = &mut installed;
    let console = machine.boot(&mut [(&mut stick, 512), (&mut system.bytes, 512)], &[])?;
    said(
        &console,
        "rayos-guard: starting recovery, release 2.0.0 (requested)",
    )?;
    said(
        &console,
        "choice: Recovery, why: Requested, left: 0, seq: 0",
    )?;
    ensure!(system.bytes == before, "the disk was written to");
    let mut torn = file;
    torn[5000] ^= 1;
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]),
        ("EFI/RAYOS/RECOVERY.IMG", &torn),
    ];
    let mut stick = disk::fat(16 << 20, 512, &files)?;
    let console = machine.boot(&mut [(&mut stick, 512)], &[GAVE_UP])?;
    said(
        &console,
        "passed over recovery: its boot image is not the one that was signed",
    )?;
    said(&console, GAVE_UP)
}

/// The same from an ISO: the volume of the guard is the El Torito image, and its disk the CD.
pub(super) fn iso(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "iso")?;
    let image = lab.payload("reset");
    let (seal, _) = disk::release("2.0.0", 9, &image, &disk::key())?;
    let file = disk::sealed(&seal, &image);
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]),
        ("EFI/RAYOS/RECOVERY.IMG", &file),
    ];
    let folder = lab.dir.join("iso-root");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("efi.img"), disk::fat(16 << 20, 512, &files)?)?;
    let made = lab.dir.join("lab.iso");
    let status = std::process::Command::new("xorriso")
        .args("-report_about WARNING -as mkisofs -e efi.img -no-emul-boot -o".split(' '))
        .args([&made, &folder])
        .status()?;
    ensure!(status.success(), "xorriso: {status}");
    installed.machine.cd = Some(made);
    let esp = installed.disk.len(ESP);
    installed.disk.write(ESP, 0, &vec![0; esp]);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting recovery, release 2.0.0 (requested)",
    )?;
    said(&console, TOLD)?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}
