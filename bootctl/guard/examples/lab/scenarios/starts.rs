//! Which slot is started, in which order, and how often.

use super::{A, B, GAVE_UP, GOOD, Installed, R, TOLD, TRIAL, said};
use crate::Lab;
use crate::disk::{self, ESP};
use anyhow::{Result, ensure};
use record::event::Kind;
use record::{Reason, Record, Slot, Status};

pub(super) fn default(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "default", 512, ["reset"; 3])?;
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    said(&console, "choice: Slot(A), why: Default, left: 7, seq: 2")?;
    said(&console, "LoaderInfo=rayos-guard")?;
    said(&console, "LoaderEntrySelected=rayos-a")?;
    said(
        &console,
        &format!("LoaderDevicePartUUID={}", installed.disk.uuid(ESP)),
    )?;
    let record = installed.record()?;
    ensure!(record.seq == 2 && record.slot(Slot::A).status == Status::Good { budget_left: 7 });
    ensure!(installed.events() == [(Kind::Launched, A, Reason::None)]);
    Ok(())
}

/// A release that never commits is started exactly as often as it has tries.
pub(super) fn trial(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "trial", 512, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    for words in ["2 tries left", "1 try left", "0 tries left"] {
        let console = installed.boot(&[])?;
        said(
            &console,
            &format!("rayos-guard: starting slot B, release 1.1.0 (trial, {words})"),
        )?;
    }
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    ensure!(installed.record()?.slot(Slot::B).reason == Reason::TriesExhausted);
    Ok(())
}

pub(super) fn large_sectors(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "large-sectors", 4096, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)",
    )?;
    said(&console, TOLD)?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    ensure!(installed.events() == [(Kind::Launched, B, Reason::None)]);
    Ok(())
}

/// The trial returns, the default returns and recovery resets, all within one boot.
pub(super) fn fallback(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "fallback", 512, ["return", "return", "reset"])?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: passed over slot B: its boot image returned to the guard (ABORTED)",
    )?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)",
    )?;
    let record = installed.record()?;
    ensure!(record.slot(Slot::A).status == Status::Good { budget_left: 7 });
    ensure!(record.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    let expected = [
        (Kind::Launched, B, Reason::None),
        (Kind::PassedOver, B, Reason::Returned),
        (Kind::Launched, A, Reason::None),
        (Kind::PassedOver, A, Reason::Returned),
        (Kind::Launched, R, Reason::None),
    ];
    ensure!(installed.events() == expected, "{:?}", installed.events());
    Ok(())
}

/// The guard never returns success, because the firmware would then wait in its menu.
pub(super) fn success_is_failure(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(
        lab,
        "success-is-failure",
        512,
        ["success", "success", "success"],
    )?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[GAVE_UP])?;
    said(
        &console,
        "rayos-guard: passed over slot B: its boot image returned to the guard (SUCCESS)",
    )?;
    said(
        &console,
        "rayos-guard: passed over recovery: its boot image returned to the guard (SUCCESS)",
    )?;
    said(&console, GAVE_UP)
}

/// A committed release that repeatedly fails to reach commit becomes Unbootable, and the other one
/// is started.
pub(super) fn worn(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "worn", 512, ["reset"; 3])?;
    installed.put(Slot::A, Status::Good { budget_left: 2 }, GOOD);
    for left in [1, 0] {
        let console = installed.boot(&[])?;
        said(
            &console,
            &format!("rayos-guard: starting slot A, release 1.0.0 (default, boot budget {left})"),
        )?;
    }
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (fallback, boot budget 7)",
    )?;
    ensure!(installed.record()?.slot(Slot::A).reason == Reason::BudgetExhausted);
    Ok(())
}

pub(super) fn one_shot(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "one-shot", 512, ["reset"; 3])?;
    let record = Record {
        one_shot: R,
        ..installed.record()?
    };
    installed.disk.put_record(&record);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (requested for this boot only)",
    )?;
    ensure!(installed.record()?.one_shot.is_none());
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

pub(super) fn recovery_entry(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "recovery-entry", 512, ["reset"; 3])?;
    let tag = record::ENTRY_TAG.0;
    let hd = installed.disk.hd(ESP);
    let option = |code: u8| {
        disk::load_option(
            "RayOS",
            &hd,
            "\\EFI\\RAYOS\\GUARDR.EFI",
            &[&tag[..], &[code]].concat(),
        )
    };
    let changes = [
        ("Boot0007", Some(option(2))),
        ("Boot0008", Some(option(3))),
        ("BootOrder", Some(vec![7, 0, 8, 0])),
        ("BootNext", Some(vec![8, 0])),
    ];
    installed.machine.variables().change(&changes)?;
    let console = installed.boot(&[])?;
    said(&console, "starting Boot0008 \"RayOS\"")?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (requested)",
    )?;
    let console = installed.boot(&[])?;
    said(&console, "starting Boot0007 \"RayOS\"")?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

/// R requests recovery; other keys request nothing.
pub(super) fn recovery_key(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "recovery-key", 512, ["reset"; 3])?;
    installed.machine.typed = "xyr";
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (requested)",
    )?;
    installed.machine.typed = "xyz";
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}
