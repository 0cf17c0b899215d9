//! The other installation medium: the ISO in a CD drive installs as the stick does.

use crate::installed::{blank_disk, install, media};
use crate::scenario::{Steps as _, scenario};
use anyhow::Result;
use qemu::{Bus, Disk, Machine};

#[test]
fn the_iso_installs() -> Result<()> {
    let [_, iso] = media()?;
    scenario("media-iso", |scenario| {
        blank_disk(&scenario.image())?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk())
            .disk(Disk::new(Bus::Cd, iso));
        let mut machine = scenario.start(machine, "install")?;
        install(&mut machine)?;
        machine.step("slot A starts while the CD is in the drive");
        machine.expect_guard("a", "1.0.0", "")
    })
}
