//! A copy of the disk in the same machine: the same disk GUID, the same PARTUUIDs, the same boot
//! record. Nobody can tell which of the two runs, so nothing is changed on either, until one of
//! them is taken away.

use crate::installed::{Installed, LOST, blank_disk, machine, settled};
use anyhow::{Result, ensure};
use qemu::{Disk, Running, Scratch};
use std::path::Path;
use tests::{WebServer, digest_of, partition};

/// This is no machine that can be updated.
const UNSUITABLE: i32 = 5;
/// What lies on a disk and is ours.
const PARTITIONS: [&str; 7] = [
    "esp",
    "rayos-state",
    "boot-a",
    "boot-b",
    "root-a",
    "root-b",
    "recovery",
];

#[test]
fn a_disk_that_is_there_twice_is_left_alone_until_its_copy_is_taken_away() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("twin")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let update = format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        );
        installed.copy_to(&scratch)?;
        let (disk, twin) = (scratch.file("disk.img"), scratch.file("twin.img"));
        blank_disk(&twin)?;
        let beside = || machine(&scratch).disk(Disk::virtio(&twin));

        let mut running = beside().start("beside")?;
        running
            .step("it starts beside a blank disk")
            .fatal(&LOST)
            .expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut running, "a", "1.0.0")?;
        running.check("rayos-bootctl status")?;
        running
            .step("somebody copies the disk")
            .check("sync; dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync")?;
        let before = [contents(&disk)?, contents(&twin)?];
        ensure!(
            before[0] == before[1],
            "the copy is another disk: {before:?}"
        );
        for command in [
            &update,
            "rayos-updater status",
            "rayos-bootctl status",
            "rayos-bootctl commit",
        ] {
            refused(&mut running, command)?;
        }
        running.check("sync")?;
        ensure!(
            [contents(&disk)?, contents(&twin)?] == before,
            "what was refused changed a disk"
        );
        running.power_off()?;

        let mut running = beside().start("with-copy")?;
        running
            .step("no root is chosen at random")
            .expect("rayos-guard: starting slot A, release 1.0.0")?;
        let failed = "RAYOS:INITRAMFS_FAILED no root of the slot that was started";
        let said = running.expect(failed)?;
        ensure!(
            said.contains("found twice: /dev/vda and /dev/vdb"),
            "said only: {said}"
        );
        running.power_off()?;

        let mut running = machine(&scratch).start("without-copy")?;
        running
            .step("the copy is gone")
            .fatal(&LOST)
            .expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut running, "a", "1.0.0")?;
        running.step("the refused update is made").check(&update)?;
        running.step("1.1.0 is tried").send_line("reboot")?;
        running.expect("RAYOS:UP version=1.1.0 slot=b")?;
        settled(&mut running, "b", "1.1.0")?;
        Ok(running.power_off()?)
    }();
    scratch.finish(result)
}

/// That `command` says which two disks there are, and does nothing.
fn refused(machine: &mut Running, command: &str) -> Result<()> {
    let said = machine.run(command)?;
    ensure!(
        said.code == UNSUITABLE,
        "{command}: exit code {}: {}",
        said.code,
        said.output
    );
    ensure!(
        said.output.contains("found twice: /dev/vda and /dev/vdb"),
        "{command}: said only: {}",
        said.output
    );
    Ok(())
}

/// Digests of all that is ours on a disk, the partition table among it.
fn contents(image: &Path) -> Result<Vec<String>> {
    let mut digests = vec![digest_of(image, 0, 1 << 20)?];
    for name in PARTITIONS {
        let partition = partition(image, name)?;
        digests.push(partition.digest(image)?);
    }
    Ok(digests)
}
