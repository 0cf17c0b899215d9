//! A release that hangs is a reset, and a try is gone.

use super::{GOOD, Installed, TOLD, said};
use crate::Lab;
use anyhow::Result;
use record::{Slot, Status};

/// The trial in B hangs; after the reset its tries tell of it. One boot, since a reset ends the
/// machine here.
fn hang(lab: &Lab, name: &str, orders: &str, extra: &[&str]) -> Result<()> {
    let mut installed = Installed::new(lab, name, 512, ["reset", orders, "reset"])?;
    installed.put(Slot::A, GOOD, Status::Pending { tries_left: 1 });
    installed.machine.extra = extra.iter().map(|&word| word.to_owned()).collect();
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

/// A clock that runs as instructions are executed, and leaps ahead while the CPU is stopped, makes
/// minutes of waiting short.
const LEAP: &str = "shift=6,sleep=off";

pub(super) fn hang_in_firmware(lab: &Lab) -> Result<()> {
    hang(lab, "hang-in-firmware", "hang", &["-icount", LEAP])
}

/// Nothing resets it, since there is no watchdog: a person presses the button, and the try is spent
/// all the same.
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
    let extra = [
        "-icount",
        LEAP,
        "-device",
        "i6300esb",
        "-action",
        "watchdog=reset",
    ];
    hang(lab, "hang-i6300esb", "dead", &extra)
}

pub(super) fn hang_tco(lab: &Lab) -> Result<()> {
    let extra = [
        "-icount",
        LEAP,
        "-global",
        "ICH9-LPC.noreboot=false",
        "-action",
        "watchdog=reset",
    ];
    hang(lab, "hang-tco", "dead", &extra)
}
