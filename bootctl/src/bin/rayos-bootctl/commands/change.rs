//! `commit`, and what `rollback`, `boot-once`, `mark-bad` and `rearm` report.

use super::open;
use crate::args::{CommitArgs, MachineArgs};
use crate::error::CommandError;
use crate::output::{PROGRAM, print, warn};
use bootctl::device::Access;
use bootctl::machine::{Change, Machine};
use bootctl::status::MachineStatus;
use bootctl::system::System;
use cli::ExitStatus;
use cli::clock::now;
use cli::output::note;
use record::Choice;

/// Declares the running release good. `text` is about how that was found. *Writes.*
///
/// # Power loss
/// As [`Machine::commit`].
pub(super) fn commit(
    args: &MachineArgs,
    options: &CommitArgs,
    text: &'static str,
) -> Result<ExitStatus, CommandError> {
    let machine = open::machine(args, Access::Record)?;
    let booted = machine.require_booted()?;
    if machine.store.read()?.compatible.as_str().is_empty() {
        identify(&machine, options)?;
    }
    let change = machine.commit_with(now(), text)?;
    warn_about(&change);
    if let Choice::Slot(slot) = booted {
        let version = change.after.slot(slot).release.version;
        note(&format!(
            "RAYOS_BOOTCTL:COMMITTED slot={} version={version}",
            slot.letter()
        ));
    }
    Ok(ExitStatus::Success)
}

/// Writes this system's compatible into a record that was rebuilt without one. *Writes.*
fn identify(machine: &Machine, options: &CommitArgs) -> Result<(), CommandError> {
    match System::load(&options.system) {
        Ok(system) => drop(machine.identify(system.compatible())?),
        Err(error) => warn(&format!("the boot record has no compatible: {error}")),
    }
    Ok(())
}

/// Prints the state of `machine` after a change; exit code 7 if nothing changed.
pub(super) fn report(machine: &Machine, change: &Change) -> Result<ExitStatus, CommandError> {
    warn_about(change);
    let status = MachineStatus {
        handoff: machine.handoff,
        record: Some(change.after),
        ..MachineStatus::default()
    };
    print(&status.sentence())?;
    if change.is_change() {
        return Ok(ExitStatus::Success);
    }
    note("nothing to do: already in this state");
    Ok(ExitStatus::NothingToDo)
}

fn warn_about(change: &Change) {
    if let Some(error) = &change.copy_error {
        warn(&format!(
            "only one of the two copies of the boot record was updated: {error}"
        ));
    }
    if let Some(error) = &change.event_error {
        warn(&format!("event not written: {error}"));
    }
    for action in &change.entries.done {
        note(&format!("{PROGRAM}: done: {action}"));
    }
    if let Some(warning) = &change.entries.warning {
        warn(warning);
    }
}
