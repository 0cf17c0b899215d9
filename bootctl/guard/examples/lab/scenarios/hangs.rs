//! A release that hangs: the machine is reset, and the try is spent.

use super::{GOOD, Installed, TOLD, said};
use crate::Lab;
use anyhow::Result;
use qemu::Accelerator;
use record::{Slot, Status};

/// The trial in B hangs; after the reset one try less is left. There is one boot, because a reset
/// ends the machine here.
fn hang(lab: &Lab, name: &str, orders: &str, watchdog: &[&'static str]) -> Result<()> {
    let mut installed = Installed::new(lab, name, 512, ["reset", orders, "reset"])?;
    installed.put(Slot::A, GOOD, Status::Pending { tries_left: 1 });
    installed.machine.accelerator = Accelerator::InstructionClock;
    installed.machine.arguments = watchdog.to_vec();
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)",
    )?;
    said(&console, TOLD)?;
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

pub(super) fn hang_in_firmware(lab: &Lab) -> Result<()> {
    hang(lab, "hang-in-firmware", "hang", &[])
}

/// Without a watchdog an operator resets the machine; the try is spent, too.
pub(super) fn hang_unwatched(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "hang-unwatched", 512, ["reset", "dead", "reset"])?;
    installed.put(Slot::A, GOOD, Status::Pending { tries_left: 1 });
    let console = installed.boot(&["orders: dead"])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)",
    )?;
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

pub(super) fn hang_i6300esb(lab: &Lab) -> Result<()> {
    let watchdog = ["-device", "i6300esb", "-action", "watchdog=reset"];
    hang(lab, "hang-i6300esb", "dead", &watchdog)
}

pub(super) fn hang_tco(lab: &Lab) -> Result<()> {
    let watchdog = [
        "-global",
        "ICH9-LPC.noreboot=false",
        "-action",
        "watchdog=reset",
    ];
    hang(lab, "hang-tco", "dead", &watchdog)
}
