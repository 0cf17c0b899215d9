//! The EFI system partition is lost: no firmware starts the disk. The stick that the machine was
//! installed from restores the guard, and the installed release starts again.

use crate::installed::media;
use crate::scenario::{Steps as _, kept_partitions, scenario};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use tests::partition;

/// `rayos-installer`: nothing to do.
const NOTHING_TO_DO: i32 = 7;

#[test]
fn a_lost_esp_is_restored_from_the_stick() -> Result<()> {
    let [stick, _] = media()?;
    scenario("esp-lost", |scenario| {
        scenario.copy_installed()?;
        let image = scenario.image();
        let esp = partition(&image, "esp")?;
        let before = kept_partitions(&image)?;
        let zeroes = vec![0; usize::try_from(esp.len)?];
        OpenOptions::new()
            .write(true)
            .open(&image)?
            .write_all_at(&zeroes, esp.offset)?;

        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(Disk::usb(stick).read_only().bootindex(0));
        let mut machine = scenario.start(machine, "lost")?;
        machine.step("the firmware starts the stick, because the disk has no loader");
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine.expect("/dev/vda has lost its boot guard: rewriting the EFI system partition.")?;
        machine.expect("The boot guard is restored.")?;
        machine.step("the installed release starts");
        machine.expect_guard("a", "1.0.0", "")?;
        machine.expect_commit("a", "1.0.0")?;
        machine.power_off()?;

        let machine = Machine::new(&scenario.scratch).disk(scenario.disk());
        let mut machine = scenario.start(machine, "alone")?;
        machine.step("the disk starts without the stick");
        machine.expect_guard("a", "1.0.0", "default")?;
        machine.expect_up("a", "1.0.0")?;
        machine.power_off()?;

        ensure!(
            kept_partitions(&image)? == before,
            "another partition was written"
        );
        // The same command on another machine has nothing to do.
        let again = Command::new(scenario.sample.program("rayos-installer"))
            .arg("repair-esp")
            .arg("--disk")
            .arg(&image)
            .arg("--bundle")
            .arg(scenario.sample.bundle("1.0.0"))
            .arg("--trust")
            .arg(scenario.sample.file("trust.toml"))
            .output()?;
        ensure!(
            again.status.code() == Some(NOTHING_TO_DO),
            "{}",
            String::from_utf8_lossy(&again.stderr)
        );
        Ok(())
    })
}
