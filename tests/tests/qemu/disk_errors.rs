//! The disk returns errors: to a write of the update, to a read of the running slot, to a flush.
//! Each scenario checks the error that the operator sees, the next boot, and the other slot.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::DiskError;
use std::fs;
use tests::{digest_of, partition};

/// `rayos-updater`: the target slot holds no release now; the booted one is untouched.
const SLOT_INVALID: i32 = 8;
const MIB: u64 = 1 << 20;
/// EIO in words.
const EIO: &str = "Input/output error (os error 5)";

#[test]
fn a_failed_write_leaves_the_target_slot_unbootable_until_the_disk_works() -> Result<()> {
    scenario("disk-error-write", |scenario| {
        let update = scenario.apply_command("1.1.0");
        let mut machine = scenario.start_installed()?;
        let image = scenario.image();
        let root = partition(&image, "root-b")?;
        machine.inject_disk_errors(0, &[DiskError::Write(root.offset + MIB)])?;
        machine.check_fails(&update, SLOT_INVALID, &["root-b: /dev/vda: writing ", EIO])?;

        machine.reboot_into("a", "1.0.0", "")?;
        let status = machine.check("rayos-bootctl status")?;
        ensure!(
            status.contains("Unbootable"),
            "status of slot B is:\n{status}"
        );

        machine.clear_disk_errors(0)?;
        machine
            .step("the same command completes the update")
            .check(&update)?;
        machine.check("sync")?;
        machine.power_off()?;
        let root_image = scenario.sample.file("releases/1.1.0/root.erofs");
        let len = fs::metadata(&root_image)?.len();
        ensure!(
            digest_of(&image, root.offset, len)? == digest_of(&root_image, 0, len)?,
            "root-b is not complete"
        );
        Ok(())
    })
}

#[test]
fn a_failed_flush_stops_an_update_and_the_same_command_completes_it() -> Result<()> {
    scenario("disk-error-flush", |scenario| {
        let update = scenario.apply_command("1.1.0");
        let mut machine = scenario.start_installed()?;
        // Flush 0 is that of the boot record which disarms slot B; flush 2 comes while the slot is
        // written.
        for number in [0, 2] {
            machine.inject_disk_errors(0, &[DiskError::Flush(number)])?;
            machine.step(format!("flush {number} fails"));
            machine.check_fails(&update, SLOT_INVALID, &["/dev/vda: flush: ", EIO])?;
            machine.clear_disk_errors(0)?;
        }
        machine.reboot_into("a", "1.0.0", "")?;
        machine
            .step("the same command completes the update")
            .check(&update)?;
        machine.reboot_into("b", "1.1.0", "trial")
    })
}

#[test]
fn an_unreadable_running_slot_is_updated_and_an_unreadable_boot_image_falls_back() -> Result<()> {
    scenario("disk-error-read", |scenario| {
        let mut machine = scenario.start_installed()?;
        let image = scenario.image();
        let unreadable = |name: &str| -> Result<DiskError> {
            Ok(DiskError::Read(partition(&image, name)?.offset + MIB))
        };
        // Chunks that cannot be read from the running slot are fetched.
        machine.inject_disk_errors(0, &[unreadable("root-a")?])?;
        scenario.apply(&mut machine, "1.1.0")?;
        machine.reboot_into("b", "1.1.0", "trial")?;
        machine.clear_disk_errors(0)?;

        machine.inject_disk_errors(0, &[unreadable("boot-b")?])?;
        machine
            .step("the guard starts the other slot")
            .send_line("reboot")?;
        machine.expect("rayos-guard: passed over slot B: its boot partition cannot be read")?;
        machine.expect_start("a", "1.0.0", "")?;
        let why = machine.check("rayos-bootctl why")?;
        ensure!(why.contains("1.1.0"), "why prints:\n{why}");
        Ok(())
    })
}
