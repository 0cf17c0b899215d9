//! `milestone`, `health` and `collect-panics`: what a running system reports about itself.

use super::restart::{self, LastResort};
use super::root_reading::RootReading;
use super::{change, open};
use crate::args::{HealthArgs, MachineArgs, Milestone, MilestoneArgs};
use crate::error::CommandError;
use crate::output::{PROGRAM, warn};
use bootctl::collect::collect;
use bootctl::device::Access;
use bootctl::health::{
    self, AfterFailure, CheckFiles, FailedCheck, Gate, Outcome, Plan, after_failure,
};

use bootctl::machine::{Machine, UNCHECKED};
use bootctl::state::kernel_version;
use bootctl::watch::{self, WATCH_FILE, WatchFile};
use cli::ExitStatus;
use cli::clock::now;
use cli::output::{note, printable};
use record::event::Kind;
use record::{Choice, Slot, Why};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Pause before the checks of a Good slot run again, which doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(300);

/// Appends a milestone to the event ring. *Writes.* After `failed`, exit code 7 means that the
/// caller should not restart the machine.
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
    if kind == Kind::HealthFailed && !should_restart(&machine, booted) {
        return Ok(ExitStatus::NothingToDo);
    }
    Ok(ExitStatus::Success)
}

/// Returns whether a restart after this failure serves a purpose: no health gate is running, which
/// decides by itself, and [`after_failure`] would restart.
fn should_restart(machine: &Machine, booted: Choice) -> bool {
    let why = machine.handoff.map_or(Why::Default, |handoff| handoff.why);
    let is_gate_running = watch::read(Path::new(WATCH_FILE), watch::uptime()).is_some();
    let record = machine.store.read().ok();
    let restarts =
        |slot| after_failure(record.as_ref(), slot, why, Gate::Failed) == AfterFailure::Restart;
    !is_gate_running && matches!(booted, Choice::Slot(slot) if restarts(slot))
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
    let ours = kernel_version::ours(&machine.disk);
    let count = collect(&machine.log, pstore, &ours)?;
    if count == 0 {
        return Ok(ExitStatus::NothingToDo);
    }
    note(&format!(
        "{PROGRAM}: {count} kernel panic(s) moved into the event ring"
    ));
    Ok(ExitStatus::Success)
}

/// Runs the health checks and commits if all pass. Otherwise it records the failure and, with
/// `--reboot`, restarts or waits as [`after_failure`] says. *Writes.*
///
/// # Power loss
/// Before the commit the release stays on trial; for the rest see [`change::commit`].
pub(super) fn health(args: &MachineArgs, options: &HealthArgs) -> Result<ExitStatus, CommandError> {
    // Only a system that the guard started restarts: the guard counts its starts.
    let handoff = open::handoff(args)?;
    let booted = handoff.choice;
    let Choice::Slot(slot) = booted else {
        collect_or_warn(args, options);
        return Ok(ExitStatus::NothingToDo);
    };
    let mut pause = FIRST_PAUSE;
    let mut recorded = None;
    loop {
        let last_resort = options.reboot.then(|| LastResort::arm(options));
        let (gate, result) = match check_and_commit(args, options, slot) {
            Ok(None) => return Ok(ExitStatus::Success),
            Ok(Some(uncommitted)) => {
                // One event for a failure that stays the same, however long it lasts.
                let words = uncommitted.failed.to_string();
                if recorded.as_ref() != Some(&words) {
                    record_failure(args, booted, uncommitted.kind, &uncommitted.failed);
                    recorded = Some(words);
                }
                (uncommitted.gate(), Ok(ExitStatus::Failed))
            }
            Err(error) => (Gate::Error, Err(error)),
        };
        if !options.reboot {
            return result;
        }
        let machine = open::machine(args, Access::Record).ok();
        drop(last_resort);
        let record = machine
            .as_ref()
            .and_then(|machine| machine.store.read().ok());
        let after = after_failure(record.as_ref(), slot, handoff.why, gate);
        if after == AfterFailure::Stay {
            return result;
        }
        if let Err(error) = result {
            warn(&error);
        }
        if after == AfterFailure::Restart {
            restart::now()?;
            return Ok(ExitStatus::Failed);
        }
        if let Some(Err(error)) = machine.map(|machine| machine.excuse()) {
            warn(&error);
        }
        let seconds = pause.as_secs();
        note(&format!(
            "{PROGRAM}: not committed: checks again in {seconds} s"
        ));
        thread::sleep(pause);
        pause = LAST_PAUSE.min(pause * 2);
    }
}

fn collect_or_warn(args: &MachineArgs, options: &HealthArgs) {
    if let Err(error) = collect_panics(args, &options.pstore.pstore) {
        warn(&error);
    }
}

/// Why the release was not committed.
struct Uncommitted {
    kind: Kind,
    failed: FailedCheck,
}

impl Uncommitted {
    fn gate(&self) -> Gate {
        match self.kind {
            Kind::DeadlinePassed => Gate::NotReady,
            _ => Gate::Failed,
        }
    }
}

/// Runs the checks once. Returns `None` if all passed and the release was committed. *Writes.*
fn check_and_commit(
    args: &MachineArgs,
    options: &HealthArgs,
    slot: Slot,
) -> Result<Option<Uncommitted>, CommandError> {
    collect_or_warn(args, options);
    let machine = open::machine(args, Access::Read)?;
    let reading = RootReading::start(&machine, &machine.store.read()?, slot, options);
    drop(machine);
    let uncommitted = |kind, failed| Ok(Some(Uncommitted { kind, failed }));
    let checks = match run_checks(options) {
        Outcome::Passed { checks } => checks,
        Outcome::Failed(failed) => return uncommitted(Kind::HealthFailed, failed),
        Outcome::DeadlinePassed(failed) => return uncommitted(Kind::DeadlinePassed, failed),
    };
    if let Err(failed) = reading.map_or(Ok(()), RootReading::finish) {
        return uncommitted(Kind::HealthFailed, failed);
    }
    let text = if checks == 0 { UNCHECKED } else { "" };
    if checks == 0 {
        let dir = options.dir.display();
        warn(&format!(
            "{dir} holds no check: the release is committed unchecked"
        ));
    }
    change::commit(args, &options.commit, text).map(|_| None)
}

/// Runs the checks, and meanwhile publishes how many there are and how much time is left.
fn run_checks(options: &HealthArgs) -> Outcome {
    let plan = Plan {
        dir: options.dir.clone(),
        deadline: Duration::from_secs(options.deadline),
        time_out: Duration::from_secs(options.time_out),
        pause: Duration::from_secs(1),
    };
    let end = watch::uptime() + plan.deadline;
    // What keeps the folder from being read is the result of the run.
    let checks = CheckFiles::read(&plan.dir).map_or(0, |files| files.checks.len());
    let watch_file = WatchFile::create(Path::new(WATCH_FILE), checks, end);
    if let Err(error) = &watch_file {
        warn(&format!("{WATCH_FILE}: {error}"));
    }
    let report = |text: &str| note(&format!("{PROGRAM}: {}", printable(text)));
    health::run(&plan, report)
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
