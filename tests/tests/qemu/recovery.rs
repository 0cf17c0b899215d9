//! The recovery system on the disk: started once on request, it tells how the machine stands, and
//! the next boot is a plain one.

use crate::installed::{Installed, LOST};
use anyhow::Result;
use qemu::Scratch;

#[test]
fn for_one_boot_on_request() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("recovery-once")?;
    let result = || -> Result<()> {
        let mut machine = installed.start(&scratch)?;
        machine.check("rayos-bootctl boot-once recovery")?;
        machine
            .fatal(&LOST)
            .step("the guard starts recovery from the disk")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting recovery")?;
        machine
            .step("recovery comes up")
            .expect("RAYOS:RECOVERY version=1.0.0")?;
        machine
            .step("it tells how the machine stands")
            .expect("running recovery: ")?;
        machine.expect("RAYOS:RECOVERY_ENDED code=0")?;
        machine
            .step("the next boot is a plain one")
            .send_line("reboot -f")?;
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}
