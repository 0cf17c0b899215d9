//! `repair`: restores a lost or damaged boot record, then brings the boot entries in line.

use super::open;
use crate::args::{MachineArgs, RepairArgs};
use crate::error::CommandError;
use crate::output::{print, warn};
use bootctl::device::Access;
use bootctl::evidence::{self, EvidenceError};
use bootctl::links;
use bootctl::machine::Machine;
use bootctl::reconcile::{self, Action, BootVars};
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

/// Repairs the boot record and the boot entries, or prints the plan. *Writes* unless only a plan is
/// asked for.
///
/// # Power loss
/// Leaves the old record or the repaired one, and a part of the entries; the next run does the
/// rest.
pub(super) fn repair(args: &MachineArgs, options: &RepairArgs) -> Result<ExitStatus, CommandError> {
    let access = if options.plan {
        Access::Read
    } else {
        Access::Write
    };
    let machine = open::machine(args, access)?;
    let repaired = if options.entries_only {
        RepairedRecord::unchanged(machine.store.read()?)
    } else {
        repair_record(&machine, options)?
    };
    let plan = plan_entries(&machine, &repaired.record);
    for action in &plan {
        print(&action.to_string())?;
    }
    if !options.plan {
        repair_entries(&machine, &repaired)?;
    }
    if repaired.changed || !plan.is_empty() {
        return Ok(ExitStatus::Success);
    }
    let objects = if options.entries_only {
        "the boot entries are"
    } else {
        "the boot record and the boot entries are"
    };
    print(&format!("nothing to do: {objects} correct"))?;
    Ok(ExitStatus::NothingToDo)
}

fn plan_entries(machine: &Machine, record: &Record) -> Vec<Action> {
    match (BootVars::read(machine.vars.as_ref()), machine.facts()) {
        (Ok(vars), Some(facts)) => reconcile::plan(record, &vars, &facts, machine.booted()),
        _ => Vec::new(),
    }
}

/// Brings the entries in line, and appends an event if anything was repaired. *Writes.*
fn repair_entries(machine: &Machine, repaired: &RepairedRecord) -> Result<(), CommandError> {
    let report = machine.reconcile(&repaired.record);
    if repaired.changed || !report.done.is_empty() {
        let text = format!("record and {} boot variables", report.done.len());
        machine.note(Kind::Repaired, machine.booted(), &text, now())?;
    }
    report
        .warning
        .map_or(Ok(()), |warning| Err(CommandError::Entries(warning)))
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
