//! The disk gives errors: while a release is written, while the running one is read, and instead of
//! making durable what was written. What a person is told, what the next start brings, and what
//! becomes of the other slot.

use crate::installed::{Installed, settled};
use anyhow::{Result, ensure};
use qemu::{DiskError, Running, Scratch};
use std::fs;
use tests::{WebServer, digest_of, partition};

/// The target slot holds no release now; the booted one is untouched.
const SLOT_INVALID: i32 = 8;
const MIB: u64 = 1 << 20;
/// The words for EIO.
const EIO: &str = "Input/output error (os error 5)";

#[test]
fn a_write_that_fails_costs_the_target_slot_until_the_disk_is_mended() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("bad-disk-write")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let update = format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        );
        let mut machine = installed.start(&scratch)?;
        let disk = scratch.file("disk.img");
        let root = partition(&disk, "root-b")?;
        machine.inject_disk_errors(0, &[DiskError::Write(root.offset + MIB)])?;
        let said = machine.run(&update)?;
        ensure!(
            said.code == SLOT_INVALID,
            "exit code {}: {}",
            said.code,
            said.output
        );
        ensure!(
            said.output.contains("root-b: /dev/vda: writing "),
            "said only: {}",
            said.output
        );
        ensure!(said.output.contains(EIO), "said only: {}", said.output);

        restarted(&mut machine)?;
        let status = machine.check("rayos-bootctl status")?;
        ensure!(
            status.contains("Unbootable"),
            "status says of slot B:\n{status}"
        );

        machine.clear_disk_errors(0)?;
        machine.step("the same command goes on").check(&update)?;
        machine.check("sync")?;
        machine.power_off()?;
        let image = installed.sample.file("releases/1.1.0/root.erofs");
        let len = fs::metadata(&image)?.len();
        ensure!(
            digest_of(&disk, root.offset, len)? == digest_of(&image, 0, len)?,
            "root-b is not whole"
        );
        Ok(())
    }();
    scratch.finish(result)
}

#[test]
fn a_flush_that_fails_stops_an_update_and_the_same_command_goes_on() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("bad-disk-flush")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let update = format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        );
        let mut machine = installed.start(&scratch)?;
        // The first is that of the boot record, in which slot B is no more; the other comes while
        // it is written.
        for number in [0, 2] {
            machine.inject_disk_errors(0, &[DiskError::Flush(number)])?;
            let said = machine.run(&update)?;
            ensure!(
                said.code == SLOT_INVALID,
                "flush {number}: exit code {}: {}",
                said.code,
                said.output
            );
            ensure!(
                said.output.contains("/dev/vda: flush: "),
                "flush {number}: said only: {}",
                said.output
            );
            ensure!(
                said.output.contains(EIO),
                "flush {number}: said only: {}",
                said.output
            );
            machine.clear_disk_errors(0)?;
        }
        restarted(&mut machine)?;
        machine.step("the same command goes on").check(&update)?;
        machine.step("1.1.0 is tried").send_line("reboot")?;
        machine.expect("RAYOS:UP version=1.1.0 slot=b")?;
        settled(&mut machine, "b", "1.1.0")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

#[test]
fn a_running_slot_that_cannot_be_read_is_updated_and_a_boot_image_that_cannot_falls_back()
-> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("bad-disk-read")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        let disk = scratch.file("disk.img");
        machine.inject_disk_errors(
            0,
            &[DiskError::Read(partition(&disk, "root-a")?.offset + MIB)],
        )?;
        machine.step("what cannot be taken from the running slot is fetched");
        machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        ))?;
        machine.step("1.1.0 is tried").send_line("reboot")?;
        machine.expect("RAYOS:UP version=1.1.0 slot=b")?;
        settled(&mut machine, "b", "1.1.0")?;
        machine.clear_disk_errors(0)?;

        machine.inject_disk_errors(
            0,
            &[DiskError::Read(partition(&disk, "boot-b")?.offset + MIB)],
        )?;
        machine
            .step("the guard goes on with the other slot")
            .send_line("reboot")?;
        machine.expect("rayos-guard: passed over slot B: its boot partition cannot be read")?;
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut machine, "a", "1.0.0")?;
        let why = machine.check("rayos-bootctl why")?;
        ensure!(why.contains("1.1.0"), "why says:\n{why}");
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// The machine starts again, and 1.0.0 with it.
fn restarted(machine: &mut Running) -> Result<()> {
    machine
        .step("the release before starts")
        .send_line("reboot")?;
    machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
    machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
    settled(machine, "a", "1.0.0")
}
