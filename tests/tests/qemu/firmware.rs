//! Firmware that forgets or rearranges: the guard needs none of it, and the entries are mended.

use crate::installed::{Installed, LOST, machine};
use anyhow::{Result, ensure};
use std::fs;
use tests::{Disk, Machine, Scratch};

#[test]
fn that_forgot_every_variable() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-forgot")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        // The machine starts with an empty store, as after its battery was changed.
        fs::remove_file(scratch.file("vars.fd"))?;
        let mut machine = machine(&scratch).start("forgot")?;
        machine.fatal(&LOST).step("the guard starts by the removable path");
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        machine.expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
        machine.send_line("")?;
        machine.expect_shell()?;
        let entries = machine.check("efibootmgr")?;
        for label in ["RayOS A", "RayOS B", "RayOS Recovery"] {
            ensure!(entries.matches(label).count() == 1, "entry {label} was not mended:\n{entries}");
        }
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// `bootindex`, a blank disk before ours: OVMF deletes our entries and makes its own before it boots.
#[test]
fn that_deletes_our_entries() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-deletes")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let other = scratch.file("other.img");
        fs::File::create(&other)?.set_len(64 << 20)?;
        let disks = [Disk::virtio(scratch.file("disk.img")).bootindex(1), Disk::virtio(other).bootindex(0)];
        let machine = disks.into_iter().fold(Machine::new(&scratch), Machine::disk);
        let mut machine = machine.network().start("deletes")?;
        machine.fatal(&LOST).step("slot A is started all the same");
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}
