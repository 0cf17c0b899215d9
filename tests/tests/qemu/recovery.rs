//! The recovery system on the disk: it starts once on request and reports the state of the machine;
//! the next boot is a plain one.

use crate::scenario::{Steps as _, scenario};
use anyhow::Result;

#[test]
fn recovery_starts_once_on_request() -> Result<()> {
    scenario("recovery-once", |scenario| {
        let mut machine = scenario.start_installed()?;
        machine.check("rayos-bootctl boot-once recovery")?;
        machine
            .step("recovery starts from the disk")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting recovery")?;
        machine.expect("RAYOS:RECOVERY version=1.0.0")?;
        machine
            .step("recovery reports the state of the machine")
            .expect("running recovery: ")?;
        machine.expect("RAYOS:RECOVERY_ENDED code=0")?;
        machine
            .step("the next boot is a plain one")
            .send_line("reboot -f")?;
        machine.expect_guard("a", "1.0.0", "")?;
        machine.expect_up("a", "1.0.0")
    })
}
