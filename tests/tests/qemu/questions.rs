//! The stick whose answers do not permit an unattended installation: it asks on the serial console,
//! and an operator installs to a blank disk by lines of text.

use crate::installed::{LOST, blank_disk, make_stick, media};
use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, project_folder};
use std::fs;

#[test]
fn an_operator_installs_by_questions_on_the_serial_console() -> Result<()> {
    scenario("questions", |scenario| {
        media()?;
        let answers = scenario.file("install.toml");
        let sample = fs::read_to_string(project_folder().join("tests/sample/install.toml"))?;
        ensure!(
            sample.contains("unattended = true"),
            "the sample's answers have changed"
        );
        fs::write(
            &answers,
            sample.replace("unattended = true", "unattended = false"),
        )?;
        let stick = scenario.file("stick.img");
        let bundle = scenario.sample.bundle("1.0.0");
        make_stick(&scenario.sample, &bundle, &answers, &stick)?;
        blank_disk(&scenario.image())?;
        let mut machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk())
            .disk(Disk::usb(stick).read_only())
            .start("install")?;
        machine
            .fatal(&LOST)
            .step("the stick asks")
            .expect("RAYOS:RECOVERY")?;
        for (question, reply) in [
            ("5) Leave: nothing is written", "1"),
            ("== Choose a disk ==", "2"),
            ("== How to use the disk ==", "2"),
            ("== Sizes ==", "1"),
            ("== Before and after ==", "3"),
            ("To confirm, type YOS0: the last letters", "erase"),
            ("That is not YOS0. Nothing was written.", "YOS0"),
        ] {
            machine.step(question).expect(question)?;
            machine.send_line(reply)?;
        }
        machine
            .step("it writes")
            .expect("RAYOS_INSTALLER:WRITE_STARTED disk=/dev/vda")?;
        machine
            .step("the result")
            .expect("RayOS 1.0.0 is in slot A.")?;
        machine.expect("1) Restart the machine")?;
        machine.send_line("1")?;
        machine
            .step("it restarts")
            .expect("reboot: Restarting system")?;
        machine.step("slot A starts on trial, and commits");
        machine.expect_start("a", "1.0.0", "trial")
    })
}
