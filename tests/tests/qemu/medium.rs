//! Installation media in unusual circumstances: the stick stays in the machine, the disk has large
//! sectors, the clock is wrong.

use crate::installed::{blank_disk, install, media};
use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

/// The firmware prefers the stick. Its release is already installed: recovery requests a boot of
/// the disk.
#[test]
fn a_stick_that_stays_in_starts_the_installed_release() -> Result<()> {
    let [stick, _] = media()?;
    scenario("medium-stays", |scenario| {
        scenario.copy_installed()?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(Disk::usb(stick).read_only().bootindex(0))
            .network();
        let mut machine = scenario.start(machine, "stays")?;
        machine.step("the firmware starts the stick");
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine.expect("RAYOS_INSTALLER:ALREADY_INSTALLED disk=/dev/vda")?;
        machine.step("the installed release starts while the stick is in");
        machine.expect_start("a", "1.0.0", "")?;
        let log = machine.check("rayos-bootctl log")?;
        ensure!(
            log.matches("from the installation medium").count() == 1,
            "recovery did not request the boot once:\n{log}"
        );
        Ok(())
    })
}

/// The answers allow erasing this disk, by its serial number, and the firmware prefers the stick:
/// it installs once.
#[test]
fn a_stick_that_may_erase_installs_once() -> Result<()> {
    scenario("medium-erases", |scenario| {
        let bundle = scenario.sample.bundle("1.0.0");
        let stick = scenario.stick("stick.img", &bundle, "erase = \"RAYOS0\"")?;
        blank_disk(&scenario.image())?;
        // The disk is not blank: without `erase` it would not be chosen.
        OpenOptions::new()
            .write(true)
            .open(scenario.image())?
            .write_all_at(b"another file system", 8192)?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(stick.bootindex(0));
        let mut machine = scenario.start(machine, "once")?;
        machine.step("the stick installs");
        machine.expect("RAYOS_INSTALLER:WRITE_STARTED disk=/dev/vda")?;
        machine.expect("RAYOS_INSTALLER:ACTIVATED version=1.0.0")?;
        machine.step("the installed release starts and commits");
        machine.expect_commit("a", "1.0.0")?;
        machine
            .fatal(&["RAYOS_INSTALLER:WRITE_STARTED"])
            .step("the firmware starts the stick again");
        machine.send_line("reboot")?;
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine
            .step("the installer recognizes the disk")
            .expect("/dev/vda was installed from this medium.")?;
        machine.expect("RAYOS_INSTALLER:ALREADY_INSTALLED disk=/dev/vda")?;
        machine.step("the installed release starts while the stick is in");
        machine.expect_guard("a", "1.0.0", "default")?;
        machine.expect_up("a", "1.0.0")
    })
}

/// The stick that is started permits no erasure, and another one does: its answers do not count.
#[test]
fn the_answers_of_a_stick_that_was_not_started_are_ignored() -> Result<()> {
    scenario("medium-other-answers", |scenario| {
        let sample = &scenario.sample;
        let other = scenario.stick("a.img", &sample.bundle("0.9.0"), "erase = \"RAYOS0\"")?;
        let started = scenario.stick("b.img", &sample.bundle("1.0.0"), "")?;
        blank_disk(&scenario.image())?;
        OpenOptions::new()
            .write(true)
            .open(scenario.image())?
            .write_all_at(b"another file system", 8192)?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(other)
            .disk(started.bootindex(0));
        let mut machine = scenario.start(machine, "other")?;
        machine
            .fatal(&["RAYOS_INSTALLER:WRITE_STARTED"])
            .step("the firmware starts the second stick");
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine
            .step("recovery ignores the first one")
            .expect("was not started: answers on it are ignored.")?;
        machine.expect("erase it with --erase RAYOS0")?;
        machine.expect("RAYOS_INSTALLER:FAILED code=5")?;
        Ok(())
    })
}

#[test]
fn a_disk_with_large_sectors_and_a_clock_of_1970() -> Result<()> {
    let [stick, _] = media()?;
    scenario("medium-large", |scenario| {
        blank_disk(&scenario.image())?;
        let machine = || {
            Machine::new(&scenario.scratch)
                .disk(scenario.disk().sectors_4096())
                .arguments(["-rtc", "base=1970-01-01T00:00:00"])
        };
        let stick = Disk::usb(stick).read_only();
        let mut running = scenario.start(machine().disk(stick), "install")?;
        install(&mut running)?;
        running.power_off()?;

        let mut running = scenario.start(machine(), "first")?;
        running
            .step("the first release starts on trial and commits")
            .expect_start("a", "1.0.0", "trial, 2 tries left)")?;
        let found = running.check("cat /sys/block/vda/queue/logical_block_size; date +%Y")?;
        ensure!(
            found.contains("4096") && found.contains("2070"),
            "sector size and year: {found}"
        );
        Ok(())
    })
}
