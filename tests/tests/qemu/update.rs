//! A good release over HTTP: into the other slot, on trial, committed.

use crate::installed::{Installed, LOST, settled};
use crate::recorded;
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Scratch};
use std::fs;
use tests::{WebServer, digest_of, partition};

#[test]
fn over_http_into_the_other_slot() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("update-http")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        installed.copy_to(&scratch)?;
        let disk = scratch.file("disk.img");
        let recording = scratch.file("update.writes");
        let recorded = Disk::virtio(&disk).log_writes(&recording);
        let mut machine = Machine::new(&scratch)
            .disk(recorded)
            .network()
            .start("update")?;
        machine
            .fatal(&LOST)
            .step("the installed release comes up")
            .expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut machine, "a", "1.0.0")?;
        let before = ["boot-a", "root-a", "recovery"]
            .map(|name| partition(&disk, name).and_then(|it| it.digest(&disk)));

        machine.step("1.1.0 is applied");
        let said = machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        ))?;
        ensure!(said.contains("1.1.0"), "the updater said: {said}");
        let size = fs::metadata(installed.sample.bundle("1.1.0"))?.len();
        ensure!(
            web.sent() <= size + size / 100,
            "{} bytes were sent of a bundle of {size}",
            web.sent()
        );
        machine.send_line("reboot")?;

        machine
            .step("the guard starts slot B on trial")
            .expect("rayos-guard: starting slot B, release 1.1.0 (trial")?;
        machine
            .step("1.1.0 comes up")
            .expect("RAYOS:UP version=1.1.0 slot=b")?;
        machine
            .step("1.1.0 is healthy")
            .expect("RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0")?;
        machine.send_line("")?;
        machine.expect_shell()?;
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

        machine
            .step("a plain restart comes back to 1.1.0")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting slot B, release 1.1.0")?;
        machine.expect("RAYOS:UP version=1.1.0 slot=b")?;
        machine.fatal(&LOST).expect_shell()?;
        machine.power_off()?;

        let root = installed.sample.file("releases/1.1.0/root.erofs");
        let len = fs::metadata(&root)?.len();
        let place = partition(&disk, "root-b")?;
        ensure!(
            digest_of(&disk, place.offset, len)? == digest_of(&root, 0, len)?,
            "root-b is not the release's root"
        );
        let after = ["boot-a", "root-a", "recovery"]
            .map(|name| partition(&disk, name).and_then(|it| it.digest(&disk)));
        for (before, after) in before.into_iter().zip(after) {
            ensure!(
                before? == after?,
                "the update wrote to what it was not to touch"
            );
        }
        recorded::judge_update(&installed, &recording)
    }();
    scratch.finish(result)
}

#[test]
fn what_runs_already_is_nothing_to_do() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("update-again")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        let shell = machine.run(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.0.0.bundle")
        ))?;
        ensure!(
            shell.code == 7,
            "exit code {}: {}",
            shell.code,
            shell.output
        );
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// The lock of the disk is the update's until it ends. A commit in the meantime is quick, and
/// neither loses the other.
#[test]
fn a_commit_does_not_wait_for_it() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("update-commit")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        let url = web.guest_url("rayos-1.1.0.bundle");
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
        let busy = machine.run("rayos-bootctl mark-bad b")?;
        ensure!(
            busy.code == 5 && busy.output.contains("busy"),
            "{}: {}",
            busy.code,
            busy.output
        );
        machine.step("the update ends as it would have");
        machine.check(
            "until rayos-bootctl status | grep -q 'Pending, 3 tries left'; do usleep 100000; done",
        )?;
        let log = machine.check("rayos-bootctl log")?;
        ensure!(log.contains("beside"), "the milestone was lost:\n{log}");
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}
