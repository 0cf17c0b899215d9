//! A stick in a stranger's hand (F14 of docs/threat-model.md), on a machine that starts it: what
//! the owner has not signed and what is too old is not installed, though the answers may erase the
//! disk.

use crate::installed::{Installed, make_stick, sample_answers};
use crate::refuse;
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Scratch};
use std::fs;
use tests::{Fat, digest_of};

/// Where the file system of a stick begins.
const STICK_FS: u64 = 1 << 20;

#[test]
fn its_stick_installs_nothing_foreign_and_nothing_old() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("stranger")?;
    let result = || -> Result<()> {
        let sample = &installed.sample;
        installed.copy_to(&scratch)?;
        let image = scratch.file("disk.img");
        let len = fs::metadata(&image)?.len();
        let answers = scratch.file("install.toml");
        let text = fs::read_to_string(sample_answers())?;
        fs::write(
            &answers,
            text.replace("unattended = true", "unattended = true\nerase = \"RAYOS0\""),
        )?;

        let old = scratch.file("old.img");
        make_stick(sample, &sample.bundle("0.9.0"), &answers, &old)?;
        let foreign = scratch.file("foreign.img");
        make_stick(sample, &sample.bundle("1.0.0"), &answers, &foreign)?;
        let bundle = scratch.file("foreign.bundle");
        refuse::foreign(sample, &bundle)?;
        let fs = Fat::at(&foreign, STICK_FS);
        fs.delete("RAYOS/rayos-1.0.0.bundle")?;
        fs.put(&bundle, "RAYOS/rayos-1.1.0.bundle")?;

        let before = digest_of(&image, 0, len)?;
        for (stick, words) in [
            (
                &old,
                "has rollback index 0: this machine accepts 1 or higher",
            ),
            (&foreign, "signed by 0 trusted release key(s), expected 1"),
        ] {
            let disk = Disk::virtio(&image).bootindex(1);
            let stick = Disk::usb(stick).read_only().bootindex(0);
            let mut machine = Machine::new(&scratch)
                .disk(disk)
                .disk(stick)
                .start("stranger")?;
            machine
                .fatal(&["RAYOS_INSTALLER:WRITE_STARTED"])
                .step("recovery starts from the stranger's stick");
            machine.expect("RAYOS_INSTALLER:REAL_MODE")?;
            machine.step("it refuses the bundle").expect(words)?;
            machine.expect("RAYOS_INSTALLER:FAILED code=3")?;
            machine.power_off()?;
            ensure!(digest_of(&image, 0, len)? == before, "the disk has changed");
        }
        Ok(())
    }();
    scratch.finish(result)
}
