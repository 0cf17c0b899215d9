//! The EFI system partition is lost: no firmware starts the disk. The stick that the machine was
//! installed from puts the guard back, and what is installed goes on.

use crate::installed::{Installed, LOST, media, settled};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Scratch};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use tests::partition;

#[test]
fn a_lost_one_is_made_anew_from_the_stick() -> Result<()> {
    let installed = Installed::ready()?;
    let [stick, _] = media()?;
    let scratch = Scratch::new("esp-lost")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let image = scratch.file("disk.img");
        let esp = partition(&image, "esp")?;
        let before = ["boot-a", "root-a", "recovery"]
            .map(|name| partition(&image, name).and_then(|it| it.digest(&image)));
        let zeroes = vec![0; usize::try_from(esp.len)?];
        OpenOptions::new()
            .write(true)
            .open(&image)?
            .write_all_at(&zeroes, esp.offset)?;

        let stick = Disk::usb(stick).read_only().bootindex(0);
        let mut machine = Machine::new(&scratch)
            .disk(Disk::virtio(&image).bootindex(1))
            .disk(stick)
            .start("lost")?;
        machine
            .fatal(&LOST)
            .step("nothing on the disk can be started, so somebody puts the stick in");
        machine.expect("rayos-guard: starting recovery, release 1.0.0 (requested)")?;
        machine.expect("/dev/vda has lost its boot guard: rewriting the EFI system partition.")?;
        machine.expect("The boot guard is restored.")?;
        machine
            .step("what is installed comes up")
            .expect("rayos-guard: starting slot A, release 1.0.0")?;
        settled(&mut machine, "a", "1.0.0")?;
        machine.power_off()?;

        let mut machine = Machine::new(&scratch)
            .disk(Disk::virtio(&image))
            .start("alone")?;
        machine
            .fatal(&LOST)
            .step("the disk starts without the stick");
        machine.expect("rayos-guard: starting slot A, release 1.0.0 (default")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        machine.power_off()?;

        let after = ["boot-a", "root-a", "recovery"]
            .map(|name| partition(&image, name).and_then(|it| it.digest(&image)));
        for (before, after) in before.into_iter().zip(after) {
            ensure!(before? == after?, "something else was written");
        }
        // By hand, on another machine, the same is nothing to do.
        let mut again = Command::new(installed.sample.program("rayos-installer"));
        again
            .arg("repair-esp")
            .arg("--disk")
            .arg(&image)
            .arg("--bundle")
            .arg(installed.sample.bundle("1.0.0"));
        let again = again
            .arg("--trust")
            .arg(installed.sample.file("trust.toml"))
            .output()?;
        ensure!(
            again.status.code() == Some(7),
            "{}",
            String::from_utf8_lossy(&again.stderr)
        );
        Ok(())
    }();
    scratch.finish(result)
}
