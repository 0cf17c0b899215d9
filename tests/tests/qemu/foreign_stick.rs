//! An attacker's stick (F14 of docs/threat-model.md) on a machine that starts it: a release that
//! the owner has not signed and a release that is too old are not installed, although the answers
//! allow erasing the disk.

use crate::refuse;
use crate::scenario::scenario;
use anyhow::{Result, ensure};
use qemu::Machine;
use std::fs;
use tests::{Fat, digest_of};

/// Offset of the file system on a stick.
const STICK_FILE_SYSTEM: u64 = 1 << 20;

#[test]
fn neither_a_foreign_nor_an_old_release_is_installed() -> Result<()> {
    scenario("foreign-stick", |scenario| {
        let sample = &scenario.sample;
        scenario.copy_installed()?;
        let image = scenario.image();
        let len = fs::metadata(&image)?.len();

        let erase = "erase = \"RAYOS0\"";
        let old = scenario.stick("old.img", &sample.bundle("0.9.0"), erase)?;
        let foreign = scenario.stick("foreign.img", &sample.bundle("1.0.0"), erase)?;
        let bundle = scenario.file("foreign.bundle");
        refuse::foreign(sample, &bundle)?;
        let file_system = Fat::at(scenario.file("foreign.img"), STICK_FILE_SYSTEM);
        file_system.delete("RAYOS/rayos-1.0.0.bundle")?;
        file_system.put(&bundle, "RAYOS/rayos-1.1.0.bundle")?;

        let before = digest_of(&image, 0, len)?;
        for (stick, words) in [
            (
                old,
                "has rollback index 0: this machine accepts 1 or higher",
            ),
            (foreign, "signed by 0 trusted release key(s), expected 1"),
        ] {
            let mut machine = Machine::new(&scenario.scratch)
                .disk(scenario.disk().bootindex(1))
                .disk(stick.bootindex(0))
                .start("foreign")?;
            machine
                .fatal(&["RAYOS_INSTALLER:WRITE_STARTED"])
                .step("recovery starts from the attacker's stick");
            machine.expect("RAYOS_INSTALLER:REAL_MODE")?;
            machine.step("it refuses the bundle").expect(words)?;
            machine.expect("RAYOS_INSTALLER:FAILED code=3")?;
            machine.power_off()?;
            ensure!(digest_of(&image, 0, len)? == before, "the disk has changed");
        }
        Ok(())
    })
}
