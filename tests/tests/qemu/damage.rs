//! Damaged copies of the guard and of the boot record.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use tests::{Fat, partition};

/// Offsets of the two copies of the boot record in their partition (docs/boot.md).
const COPIES: [u64; 2] = [0, 1020 << 10];

#[test]
fn one_copy_of_the_guard_is_enough() -> Result<()> {
    scenario("damage-guard", |scenario| {
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
            scenario.copy_installed()?;
            let disk = scenario.image();
            let esp = Fat::at(&disk, partition(&disk, "esp")?.offset);
            for path in gone {
                esp.delete(path)?;
            }
            if name == "removable" {
                // With our entries, OVMF starts its shell before the removable path, and the shell
                // does not end. Without variables it finds that path by itself.
                fs::remove_file(scenario.file("vars.fd"))?;
            }
            let mut machine = scenario.start(scenario.machine(), name)?;
            machine.step("the copy that is left starts slot A");
            machine.expect_guard("a", "1.0.0", "")?;
            machine.expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
            machine.power_off()?;
        }
        Ok(())
    })
}

#[test]
fn the_boot_record_is_repaired_from_one_copy_and_rebuilt_from_none() -> Result<()> {
    scenario("damage-record", |scenario| {
        scenario.copy_installed()?;
        let disk = scenario.image();
        destroy(&disk, &COPIES[1..])?;
        let mut machine = scenario.start(scenario.machine(), "one")?;
        machine.step("one copy is enough");
        machine.expect_guard("a", "1.0.0", "default")?;
        machine.expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
        machine.power_off()?;

        destroy(&disk, &COPIES)?;
        let mut machine = scenario.start(scenario.machine(), "none")?;
        machine.step("the guard rebuilds the record from the sealed slot");
        machine.expect("rayos-guard: both copies of the boot record are lost")?;
        machine.expect_guard("a", "1.0.0", "trial, 0 tries left")?;
        machine.expect_commit("a", "1.0.0")?;
        let status = machine.check("rayos-bootctl status")?;
        ensure!(status.starts_with("running A 1.0.0, committed"), "{status}");
        ensure!(status.contains("compatible rayos-x86_64"), "{status}");
        let log = machine.check("rayos-bootctl log")?;
        ensure!(
            log.contains("both copies of the boot record are lost"),
            "the log does not have it:\n{log}"
        );
        Ok(())
    })
}

/// Overwrites copies of the boot record. *Writes.*
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
