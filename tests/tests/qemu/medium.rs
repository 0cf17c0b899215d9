//! The medium and the machine's own odd sides: the stick stays plugged in, the disk has large
//! sectors, the clock is wrong.

use crate::installed::{
    Installed, LOST, blank_disk, install, make_stick, media, sample_answers, settled,
};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Scratch};
use std::os::unix::fs::FileExt as _;
use tests::Sample;

/// The firmware prefers the stick. What would be installed is installed already: recovery asks for
/// the disk.
#[test]
fn a_stick_that_stays_in_starts_what_is_installed() -> Result<()> {
    let installed = Installed::ready()?;
    let [stick, _] = media()?;
    let scratch = Scratch::new("medium-stays")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let disk = Disk::virtio(scratch.file("disk.img")).bootindex(1);
        let stick = Disk::usb(stick).read_only().bootindex(0);
        let mut machine = Machine::new(&scratch)
            .disk(disk)
            .disk(stick)
            .network()
            .start("stays")?;
        machine.fatal(&LOST).step("the stick is started first");
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine.expect("RAYOS_INSTALLER:ALREADY_INSTALLED disk=/dev/vda")?;
        machine.step("the installed release is started, with the stick still in");
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut machine, "a", "1.0.0")?;
        let log = machine.check("rayos-bootctl log")?;
        ensure!(
            log.matches("from the installation medium").count() == 1,
            "it was not asked for once:\n{log}"
        );
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// The answers may erase this disk, by its serial number, and the firmware prefers the stick: it
/// installs once.
#[test]
fn a_stick_that_may_erase_installs_once() -> Result<()> {
    let sample = Sample::ready()?;
    let scratch = Scratch::new("medium-erases")?;
    let result = || -> Result<()> {
        let answers = scratch.file("install.toml");
        let text = std::fs::read_to_string(sample_answers())?;
        std::fs::write(
            &answers,
            text.replace("unattended = true", "unattended = true\nerase = \"RAYOS0\""),
        )?;
        let stick = scratch.file("stick.img");
        make_stick(&sample, &sample.bundle("1.0.0"), &answers, &stick)?;
        let path = scratch.file("disk.img");
        blank_disk(&path)?;
        // Somebody else's: without `erase` this disk would not be touched.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)?
            .write_all_at(b"a file system of old", 8192)?;
        let disk = Disk::virtio(path).bootindex(1);
        let stick = Disk::usb(stick).read_only().bootindex(0);
        let mut machine = Machine::new(&scratch)
            .disk(disk)
            .disk(stick)
            .start("once")?;
        machine.fatal(&LOST).step("the stick installs");
        machine.expect("RAYOS_INSTALLER:WRITE_STARTED disk=/dev/vda")?;
        machine.expect("RAYOS_INSTALLER:ACTIVATED version=1.0.0")?;
        machine.step("the installed release is started and commits");
        settled(&mut machine, "a", "1.0.0")?;
        machine
            .fatal(&["RAYOS_INSTALLER:WRITE_STARTED"])
            .step("the stick is started again");
        machine.send_line("reboot")?;
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine
            .step("it knows the disk")
            .expect("/dev/vda was installed from this medium.")?;
        machine.expect("RAYOS_INSTALLER:ALREADY_INSTALLED disk=/dev/vda")?;
        machine.step("the installed release is started, with the stick still in");
        machine.expect("rayos-guard: starting slot A, release 1.0.0 (default")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

#[test]
fn a_disk_with_large_sectors_and_a_clock_of_1970() -> Result<()> {
    Sample::ready()?;
    let [stick, _] = media()?;
    let scratch = Scratch::new("medium-large")?;
    let result = || -> Result<()> {
        let path = scratch.file("disk.img");
        blank_disk(&path)?;
        let disk = || Disk::virtio(&path).sectors_4096();
        let clock = ["-rtc", "base=1970-01-01T00:00:00"];
        let stick = Disk::usb(stick).read_only();
        let mut machine = Machine::new(&scratch)
            .disk(disk())
            .disk(stick)
            .arguments(clock)
            .start("install")?;
        install(&mut machine)?;
        machine.power_off()?;
        let mut machine = Machine::new(&scratch)
            .disk(disk())
            .arguments(clock)
            .start("first")?;
        machine
            .fatal(&LOST)
            .step("the first release is tried and committed");
        machine.expect("rayos-guard: starting slot A, release 1.0.0 (trial, 2 tries left)")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut machine, "a", "1.0.0")?;
        let size = machine.check("cat /sys/block/vda/queue/logical_block_size; date +%Y")?;
        ensure!(
            size.contains("4096") && size.contains("2070"),
            "sector size and year: {size}"
        );
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}
