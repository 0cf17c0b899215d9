//! A copy of the disk in the same machine: the same disk GUID, the same PARTUUIDs, the same boot
//! record. The programs cannot know which of the two runs, so they change neither until one of
//! them is removed.

use crate::installed::blank_disk;
use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::Disk;
use std::path::Path;
use tests::{digest_of, partition};

/// The machine cannot be updated as it is.
const UNSUITABLE: i32 = 5;
/// The words that name both disks.
const BOTH_DISKS: &str = "found twice: /dev/vda and /dev/vdb";
/// Our partitions.
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
fn a_cloned_disk_blocks_updates_until_one_copy_is_removed() -> Result<()> {
    scenario("cloned-disk", |scenario| {
        let update = scenario.apply_command("1.1.0");
        scenario.copy_installed()?;
        let (disk, clone) = (scenario.image(), scenario.file("clone.img"));
        blank_disk(&clone)?;
        let with_clone = || scenario.machine().disk(Disk::virtio(&clone));

        let mut machine = scenario.start(with_clone(), "blank")?;
        machine.step("the release starts beside a blank disk");
        machine.expect_start("a", "1.0.0", "")?;
        machine.check("rayos-bootctl status")?;
        machine
            .step("the operator copies the disk")
            .check("sync; dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync")?;
        let before = [contents(&disk)?, contents(&clone)?];
        ensure!(before[0] == before[1], "the copy differs: {before:?}");
        for command in [
            &update,
            "rayos-updater status",
            "rayos-bootctl status",
            "rayos-bootctl commit",
        ] {
            machine.check_fails(command, UNSUITABLE, &[BOTH_DISKS])?;
        }
        machine.check("sync")?;
        ensure!(
            [contents(&disk)?, contents(&clone)?] == before,
            "a refused command changed a disk"
        );
        machine.power_off()?;

        let mut machine = with_clone().start("with-clone")?;
        machine.step("the initramfs does not choose a root at random");
        machine.expect_guard("a", "1.0.0", "")?;
        let line = machine.expect("RAYOS:INITRAMFS_WAITING")?;
        ensure!(line.contains(BOTH_DISKS), "{line}");
        machine.expect("RAYOS:INITRAMFS_WAITING")?;
        machine.power_off()?;

        let mut machine = scenario.start(scenario.machine(), "without-clone")?;
        machine.step("the copy is removed");
        machine.expect_start("a", "1.0.0", "")?;
        scenario.apply(&mut machine, "1.1.0")?;
        machine.reboot_into("b", "1.1.0", "trial")
    })
}

/// Digests of the partition table and of our partitions.
fn contents(image: &Path) -> Result<Vec<String>> {
    let mut digests = vec![digest_of(image, 0, 1 << 20)?];
    for name in PARTITIONS {
        digests.push(partition(image, name)?.digest(image)?);
    }
    Ok(digests)
}
