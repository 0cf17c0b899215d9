//! `repair`: restores damaged copies of the partition table and a lost or damaged boot record, then
//! brings the boot entries in line.

use super::open;
use crate::args::{MachineArgs, RepairArgs};
use crate::error::CommandError;
use crate::output::{print, warn};
use bootctl::device::Access;
use bootctl::disk::TableRepair;
use bootctl::efivars::VarError;
use bootctl::evidence::{self, EvidenceError};
use bootctl::links;
use bootctl::machine::Machine;
use bootctl::reconcile::{self, BootVars, Report, Warning};
use cli::ExitStatus;
use cli::clock::now;
use record::event::Kind;
use record::{Pair, Record, Slot, Text64, rebuild};
use seal::{TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust, TrustError};
use std::path::Path;

/// The boot record after its repair.
struct RepairedRecord {
    record: Record,
    /// Whether it differs from what is on the disk, or was.
    changed: bool,
}

impl RepairedRecord {
    fn unchanged(record: Record) -> Self {
        Self {
            record,
            changed: false,
        }
    }

    fn changed(record: Record) -> Self {
        Self {
            record,
            changed: true,
        }
    }
}

/// Repairs the partition table, the boot record and the boot entries, or prints the plan. *Writes* unless only a plan is
/// asked for.
///
/// # Power loss
/// Leaves the old record or the repaired one, and a part of the entries; the next run does the
/// rest.
pub(super) fn repair(args: &MachineArgs, options: &RepairArgs) -> Result<ExitStatus, CommandError> {
    let access = if options.plan {
        Access::Read
    } else {
        Access::Record
    };
    let machine = open::machine(args, access)?;
    let repaired = if options.entries_only {
        RepairedRecord::unchanged(machine.store.read()?)
    } else {
        let is_table_changed = repair_table(args, &machine, options)?;
        let repaired = repair_record(&machine, options)?;
        RepairedRecord {
            changed: repaired.changed || is_table_changed,
            ..repaired
        }
    };
    let report = if options.plan {
        plan_entries(&machine, &repaired.record)
    } else {
        machine.settle_entries(&repaired.record)
    };
    for action in &report.done {
        print(&action.to_string())?;
    }
    if !options.plan {
        append_event(&machine, &repaired, report.done.len())?;
    }
    // An image without a folder of variables has no entries to repair.
    let is_image_alone = args.disk.is_some() && args.efivars.is_none();
    match report.warning {
        Some(warning @ Warning::Unreadable(VarError::Unsupported)) if is_image_alone => {
            warn(&warning);
        }
        Some(warning) => return Err(CommandError::Entries(warning)),
        None => {}
    }
    if repaired.changed || !report.done.is_empty() {
        return Ok(ExitStatus::Success);
    }
    let objects = if options.entries_only {
        "the boot entries are"
    } else {
        "the partition table, the boot record and the boot entries are"
    };
    print(&format!("nothing to do: {objects} correct"))?;
    // Such as a second table for which there is no room: a warning has named it.
    Ok(ExitStatus::NothingToDo)
}

/// Repairs the copies of the partition table. *Writes* unless only a plan is asked for. Returns
/// whether anything is due.
fn repair_table(
    args: &MachineArgs,
    machine: &Machine,
    options: &RepairArgs,
) -> Result<bool, CommandError> {
    let found = TableRepair::plan(&machine.disk);
    for fault in &found.faults {
        warn(fault);
    }
    for change in &found.changes {
        print(change)?;
    }
    if !options.plan && !found.changes.is_empty() {
        // The table belongs to the whole disk: no update and no udev may read it meanwhile.
        let locked = open::machine(args, Access::Write)?;
        let device = locked.disk.device().as_ref();
        TableRepair::plan(&locked.disk).write(device)?;
    }
    Ok(!found.changes.is_empty())
}

/// Returns the changes that are due, and the warning that a run would end with as far as it is
/// known before.
fn plan_entries(machine: &Machine, record: &Record) -> Report {
    let vars = match BootVars::read(machine.vars.as_ref()) {
        Ok(vars) => vars,
        Err(error) => return warning_alone(Warning::Unreadable(error)),
    };
    let Some(facts) = machine.facts() else {
        return warning_alone(Warning::NoEsp);
    };
    Report {
        done: reconcile::plan(record, &vars, &facts, machine.booted()),
        warning: vars.unreadable_words().map(Warning::PartlyUnreadable),
    }
}

fn warning_alone(warning: Warning) -> Report {
    Report {
        warning: Some(warning),
        ..Report::default()
    }
}

/// Appends an event if anything was repaired. *Writes.*
fn append_event(
    machine: &Machine,
    repaired: &RepairedRecord,
    changes: usize,
) -> Result<(), CommandError> {
    if repaired.changed || changes > 0 {
        let text = format!("table, record and {changes} boot variables");
        machine.note(Kind::Repaired, machine.booted(), &text, now())?;
    }
    Ok(())
}

/// Restores the boot record, and fills in its compatible if that was named. *Writes* unless only a
/// plan is asked for.
fn repair_record(machine: &Machine, options: &RepairArgs) -> Result<RepairedRecord, CommandError> {
    let repaired = match machine.store.pair() {
        Pair::Valid { both: false, .. } => {
            print("write the damaged copy of the boot record")?;
            let record = machine.store.read()?;
            RepairedRecord::changed(write(machine, record, options)?)
        }
        Pair::Lost(_) => RepairedRecord::changed(rebuild_record(machine, options)?),
        _ => RepairedRecord::unchanged(machine.store.read()?),
    };
    let found = repaired.record.compatible;
    let Some(name) = options.compatible.filter(|name| *name != found) else {
        return Ok(repaired);
    };
    if found != Text64::EMPTY {
        return Err(CommandError::OtherCompatible {
            found: found.to_string(),
            wanted: name.to_string(),
        });
    }
    print(&format!("write into the boot record: compatible {name}"))?;
    let record = Record {
        compatible: name,
        ..repaired.record
    };
    Ok(RepairedRecord::changed(write(machine, record, options)?))
}

fn write(machine: &Machine, record: Record, options: &RepairArgs) -> Result<Record, CommandError> {
    if options.plan {
        Ok(record)
    } else {
        Ok(machine.store.write(&record)?)
    }
}

/// Makes a new record from the sealed slots. *Writes* unless only a plan is asked for.
fn rebuild_record(machine: &Machine, options: &RepairArgs) -> Result<Record, CommandError> {
    let file = options.trust.as_deref().ok_or(CommandError::NeedsTrust)?;
    let (found, errors) = evidence::gather(
        &machine.disk,
        &links::chain(&machine.disk, load_trust(file)?),
    );
    let reasons = reasons(&errors);
    let Some(record) = rebuild(machine.disk.partitions(), &found) else {
        return Err(CommandError::NoEvidence(reasons.join("; ")));
    };
    for reason in reasons {
        warn(&format!("no evidence in {reason}"));
    }
    for slot in Slot::ALL {
        let state = record.slot(slot);
        if state.is_bootable() {
            let version = state.release.version;
            print(&format!("rebuild the boot record: slot {slot} {version}"))?;
        }
    }
    if options.plan {
        Ok(record)
    } else {
        Ok(machine.store.initialise(&record)?)
    }
}

/// Returns for each slot without evidence the reason.
fn reasons(errors: &[Option<EvidenceError>; 2]) -> Vec<String> {
    Slot::ALL
        .iter()
        .zip(errors)
        .filter_map(|(slot, error)| Some(format!("slot {slot}: {}", error.as_ref()?)))
        .collect()
}

/// Reads the trust in a file: a trust block, or a guard program with one in a section. *Reads.*
fn load_trust(path: &Path) -> Result<Trust, CommandError> {
    let bytes = std::fs::read(path).map_err(CommandError::file(path))?;
    let trust = bytes
        .windows(TRUST_BLOCK_LEN)
        .filter(|block| block.starts_with(&TRUST_BLOCK_MAGIC))
        .find_map(|block| Trust::from_block(block.first_chunk()?).ok());
    Ok(trust.ok_or(TrustError::Block)?)
}
