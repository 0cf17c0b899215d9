//! What the boot needs is damaged: copies of the guard, and of the boot record.

use crate::installed::{Installed, LOST, machine, settled};
use anyhow::{Context as _, Result, ensure};
use qemu::Scratch;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use tests::{Fat, partition};

/// Where the two copies of the boot record are in their partition (docs/boot.md).
const COPIES: [u64; 2] = [0, 1020 << 10];

#[test]
fn one_copy_of_the_guard_is_enough() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("damage-guard")?;
    let result = || -> Result<()> {
        for (name, gone) in [
            (
                "removable",
                [
                    "EFI/RAYOS/GUARDA.EFI",
                    "EFI/RAYOS/GUARDB.EFI",
                    "EFI/RAYOS/GUARDR.EFI",
                ]
                .as_slice(),
            ),
            (
                "entries",
                ["EFI/BOOT/BOOTX64.EFI", "EFI/RAYOS/GUARDA.EFI"].as_slice(),
            ),
        ] {
            installed.copy_to(&scratch)?;
            let disk = scratch.file("disk.img");
            let esp = Fat::at(&disk, partition(&disk, "esp")?.offset);
            for path in gone {
                esp.delete(path)?;
            }
            if name == "removable" {
                // With our entries there, OVMF's own shell comes before the removable path, and
                // stays: it has to find that path by itself, as a firmware without entries does.
                fs::remove_file(scratch.file("vars.fd"))?;
            }
            let mut machine = machine(&scratch).start(name)?;
            machine
                .fatal(&LOST)
                .step("the guard that is left starts slot A");
            machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
            machine.expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
            machine.power_off()?;
        }
        Ok(())
    }();
    scratch.finish(result)
}

#[test]
fn the_boot_record_is_mended_from_one_copy_and_rebuilt_from_none() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("damage-record")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let disk = scratch.file("disk.img");
        destroy(&disk, &COPIES[1..])?;
        let mut machine = machine(&scratch).start("one")?;
        machine.fatal(&LOST).step("one copy is enough");
        machine.expect("rayos-guard: starting slot A, release 1.0.0 (default")?;
        machine.expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
        machine.power_off()?;

        destroy(&disk, &COPIES)?;
        let mut machine = self::machine(&scratch).start("none")?;
        machine
            .fatal(&LOST)
            .step("the guard goes by the sealed slot");
        machine.expect("rayos-guard: both copies of the boot record are lost")?;
        machine.expect("rayos-guard: starting slot A, release 1.0.0 (trial, 0 tries left)")?;
        settled(&mut machine, "a", "1.0.0")?;
        let status = machine.check("rayos-bootctl status")?;
        ensure!(status.starts_with("running A 1.0.0, committed"), "{status}");
        ensure!(status.contains("compatible rayos-x86_64"), "{status}");
        let log = machine.check("rayos-bootctl log")?;
        ensure!(
            log.contains("both copies of the boot record are lost"),
            "the story has a gap:\n{log}"
        );
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// Overwrites copies of the boot record.
fn destroy(disk: &Path, copies: &[u64]) -> Result<()> {
    let place = partition(disk, "rayos-state")?;
    let file = OpenOptions::new()
        .write(true)
        .open(disk)
        .with_context(|| disk.display().to_string())?;
    for copy in copies {
        file.write_all_at(&[0xa5; 4096], place.offset + copy)?;
    }
    Ok(())
}
