//! A good release over HTTP: applied to the other slot, tried, committed.

use crate::installed::Installed;
use crate::recorded_writes;
use crate::scenario::{Steps as _, kept_partitions, scenario};
use anyhow::{Result, ensure};
use qemu::Machine;
use std::fs;
use tests::{digest_of, partition};

/// `rayos-updater`: nothing to do.
const NOTHING_TO_DO: i32 = 7;
/// `rayos-bootctl`: the disk is locked by another program.
const BUSY: i32 = 5;

#[test]
fn a_good_release_is_applied_tried_and_committed() -> Result<()> {
    scenario("update-http", |scenario| {
        scenario.copy_installed()?;
        let image = scenario.image();
        let recording = scenario.file("update.writes");
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().log_writes(&recording))
            .network();
        let mut machine = scenario.start(machine, "update")?;
        machine.expect_start("a", "1.0.0", "")?;
        let before = kept_partitions(&image)?;

        let said = scenario.apply(&mut machine, "1.1.0")?;
        ensure!(said.contains("1.1.0"), "the updater printed: {said}");
        let size = fs::metadata(scenario.sample.bundle("1.1.0"))?.len();
        ensure!(
            scenario.web.sent() <= size + size / 100,
            "{} bytes were sent of a bundle of {size}",
            scenario.web.sent()
        );

        machine.reboot_into("b", "1.1.0", "trial")?;
        let entries = machine.check("efibootmgr")?;
        let head = entries
            .lines()
            .find_map(|line| line.strip_prefix("BootOrder: ")?.split(',').next());
        let b = entries
            .lines()
            .find(|line| line.contains("RayOS B"))
            .and_then(|line| line.get(4..8));
        ensure!(
            head.is_some() && head == b,
            "BootOrder begins with {head:?}, RayOS B is {b:?}:\n{entries}"
        );

        // A plain restart.
        machine.reboot_into("b", "1.1.0", "")?;
        machine.power_off()?;

        let root = scenario.sample.file("releases/1.1.0/root.erofs");
        let len = fs::metadata(&root)?.len();
        let partition = partition(&image, "root-b")?;
        ensure!(
            digest_of(&image, partition.offset, len)? == digest_of(&root, 0, len)?,
            "root-b is not the release's root"
        );
        ensure!(
            kept_partitions(&image)? == before,
            "the update wrote to another partition"
        );
        recorded_writes::check_update(&Installed::ready()?, &recording)
    })
}

#[test]
fn the_running_release_is_not_applied_again() -> Result<()> {
    scenario("update-again", |scenario| {
        let mut machine = scenario.start_installed()?;
        machine.check_fails(&scenario.apply_command("1.0.0"), NOTHING_TO_DO, &[])
    })
}

/// An update holds the lock of the disk until it ends. A commit in the meantime does not wait for
/// it, and both take effect.
#[test]
fn a_commit_does_not_wait_for_an_update() -> Result<()> {
    scenario("update-commit", |scenario| {
        let mut machine = scenario.start_installed()?;
        let url = scenario.bundle_url("1.1.0");
        machine.check(&format!(
            "rayos-updater apply --no-adaptive --limit-rate 512K {url} >/tmp/said 2>&1 &"
        ))?;
        machine.step("the update has disarmed slot B");
        machine.check(
            "until rayos-bootctl status | grep -q 'was not finished'; do usleep 100000; done",
        )?;
        let said = machine
            .check("rayos-bootctl milestone userspace --text beside && rayos-bootctl commit")?;
        ensure!(
            said.contains("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0"),
            "{said}"
        );
        machine.step("a second update does not get the disk");
        machine.check_fails(&scenario.apply_command("1.1.0"), BUSY, &["busy"])?;
        machine.step("the update completes");
        machine.check(
            "until rayos-bootctl status | grep -q 'Pending, 3 tries left'; do usleep 100000; done",
        )?;
        let log = machine.check("rayos-bootctl log")?;
        ensure!(log.contains("beside"), "the milestone was lost:\n{log}");
        Ok(())
    })
}
