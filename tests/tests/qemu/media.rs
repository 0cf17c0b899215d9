//! The other medium: the ISO in a CD drive installs just as the stick does.

use crate::installed::{LOST, blank_disk, install, media};
use anyhow::Result;
use qemu::{Bus, Disk, Machine, Scratch};
use tests::Sample;

#[test]
fn the_iso_installs() -> Result<()> {
    Sample::ready()?;
    let [_, iso] = media()?;
    let scratch = Scratch::new("media-iso")?;
    let result = || -> Result<()> {
        let disk = scratch.file("disk.img");
        blank_disk(&disk)?;
        let drive = Disk::new(Bus::Cd, iso);
        let mut machine = Machine::new(&scratch)
            .disk(Disk::virtio(&disk))
            .disk(drive)
            .start("install")?;
        install(&mut machine)?;
        machine
            .step("slot A is started, with the CD still in")
            .fatal(&LOST);
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}
