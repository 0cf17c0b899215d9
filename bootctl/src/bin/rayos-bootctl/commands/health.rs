//! `milestone`, `health` and `collect-panics`: what a running system reports about itself.

use super::root_reading::RootReading;
use super::{change, open};
use crate::args::{HealthArgs, MachineArgs, Milestone, MilestoneArgs};
use crate::error::CommandError;
use crate::output::{PROGRAM, warn};
use bootctl::collect::collect;
use bootctl::device::Access;
use bootctl::health::{self, FailedCheck, Outcome, Plan};
use bootctl::watch::{self, WATCH_FILE, WatchFile};
use cli::ExitStatus;
use cli::clock::now;
use cli::output::{note, printable};
use record::Choice;
use record::event::Kind;
use std::path::Path;
use std::time::Duration;

/// Appends a milestone to the event ring. *Writes.*
///
/// # Power loss
/// Leaves the ring with or without it.
pub(super) fn milestone(
    args: &MachineArgs,
    options: &MilestoneArgs,
) -> Result<ExitStatus, CommandError> {
    let machine = open::machine(args, Access::Record)?;
    let kind = match options.milestone {
        Milestone::Initramfs => Kind::Initramfs,
        Milestone::RootMounted => Kind::RootMounted,
        Milestone::Userspace => Kind::Userspace,
        Milestone::Failed => Kind::HealthFailed,
    };
    let booted = machine.require_booted()?;
    machine.note(kind, Some(booted), &options.text, now())?;
    Ok(ExitStatus::Success)
}

/// Moves kernel panics from `pstore` into the event ring. *Writes.*
///
/// # Power loss
/// As [`collect`].
pub(super) fn collect_panics(
    args: &MachineArgs,
    pstore: &Path,
) -> Result<ExitStatus, CommandError> {
    let machine = open::machine(args, Access::Record)?;
    machine.require_booted()?;
    let count = collect(&machine.log, pstore)?;
    if count == 0 {
        return Ok(ExitStatus::NothingToDo);
    }
    note(&format!(
        "{PROGRAM}: {count} kernel panic(s) moved into the event ring"
    ));
    Ok(ExitStatus::Success)
}

/// Runs the health checks; commits if all pass, otherwise records the failure and may reboot.
/// *Writes.*
///
/// # Power loss
/// Before the commit the release stays on trial; for the rest see [`change::commit`].
pub(super) fn health(args: &MachineArgs, options: &HealthArgs) -> Result<ExitStatus, CommandError> {
    let machine = open::machine(args, Access::Read)?;
    let booted = machine.require_booted()?;
    if let Err(error) = collect_panics(args, &options.pstore.pstore) {
        warn(&error);
    }
    let Choice::Slot(slot) = booted else {
        return Ok(ExitStatus::NothingToDo);
    };
    let reading = RootReading::start(&machine, &machine.store.read()?, slot, options);
    drop(machine);
    let (kind, failed) = match run_checks(options)? {
        Outcome::Passed { .. } => match reading.map_or(Ok(()), RootReading::finish) {
            Ok(()) => return change::commit(args, &options.commit),
            Err(failed) => (Kind::HealthFailed, failed),
        },
        Outcome::Failed(failed) => (Kind::HealthFailed, failed),
        Outcome::DeadlinePassed(failed) => (Kind::DeadlinePassed, failed),
    };
    record_failure(args, booted, kind, &failed);
    if options.reboot {
        rustix::fs::sync();
        rustix::system::reboot(rustix::system::RebootCommand::Restart)
            .map_err(CommandError::Reboot)?;
    }
    Ok(ExitStatus::Failed)
}

/// Runs the checks, and meanwhile publishes how many there are and how much time is left.
fn run_checks(options: &HealthArgs) -> Result<Outcome, CommandError> {
    let plan = Plan {
        dir: options.dir.clone(),
        deadline: Duration::from_secs(options.deadline),
        time_out: Duration::from_secs(options.time_out),
        pause: Duration::from_secs(1),
    };
    let end = watch::uptime() + plan.deadline;
    let watch_file = health::checks(&plan.dir)
        .and_then(|checks| WatchFile::create(Path::new(WATCH_FILE), checks.len(), end));
    if let Err(error) = &watch_file {
        warn(&format!("{WATCH_FILE}: {error}"));
    }
    let report = |text: &str| note(&format!("{PROGRAM}: {}", printable(text)));
    health::run(&plan, report).map_err(CommandError::file(&plan.dir))
}

/// Reports a failed check on the console and in the event ring. The exit status tells of the
/// failure in any case, so an event that cannot be written is only a warning.
fn record_failure(args: &MachineArgs, booted: Choice, kind: Kind, failed: &FailedCheck) {
    let marker = match kind {
        Kind::DeadlinePassed => "DEADLINE_PASSED",
        _ => "HEALTH_FAILED",
    };
    let check = printable(&failed.check);
    note(&format!("RAYOS_BOOTCTL:{marker} check={check}"));
    let text = format!("{failed}\n{}", failed.output);
    let written = open::machine(args, Access::Record)
        .and_then(|machine| Ok(machine.note(kind, Some(booted), &text, now())?));
    if let Err(error) = written {
        warn(&format!("event not written: {error}"));
    }
}
