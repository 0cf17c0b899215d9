//! `rayos-bootctl repair`: a lost or half-lost record is written anew, then the boot entries are
//! brought in line.

use crate::args::{Place, Repair};
use crate::commands::{Done, Failure, NOTHING_TO_DO, machine, now};
use crate::output::{self, print};
use bootctl::device::Access;
use bootctl::evidence;
use bootctl::machine::Machine;
use bootctl::reconcile::{self, BootVars};
use record::event::Kind;
use record::{Pair, Record, Slot, Text64, rebuild};
use seal::{TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust, TrustError};
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn repair(place: &Place, options: &Repair) -> Done {
    let machine = machine(
        place,
        if options.plan {
            Access::Read
        } else {
            Access::Write
        },
    )?;
    let (record, mended) = if options.entries_only {
        (machine.store.read()?, false)
    } else {
        mend_record(&machine, options)?
    };
    let plan = match (BootVars::read(machine.vars.as_ref()), machine.facts()) {
        (Ok(vars), Some(facts)) => reconcile::plan(&record, &vars, &facts, machine.booted()),
        _ => Vec::new(),
    };
    for action in &plan {
        print(&format!("{action}\n"))?;
    }
    if !options.plan {
        let report = machine.reconcile(&record);
        if mended || !report.done.is_empty() {
            let text = format!("record and {} boot variables", report.done.len());
            machine.note(Kind::Repaired, machine.booted(), &text, now())?;
        }
        if let Some(warning) = report.warning {
            return Err(Failure::Entries(warning));
        }
    }
    if mended || !plan.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let what = if options.entries_only {
        ""
    } else {
        "the boot record and "
    };
    print(&format!(
        "nothing to do: {what}the boot entries are as they should be\n"
    ))?;
    Ok(ExitCode::from(NOTHING_TO_DO))
}

/// The record as it shall be, and whether that differs from what is on the disk; written unless
/// only a plan is asked for.
fn mend_record(machine: &Machine, options: &Repair) -> Result<(Record, bool), Failure> {
    let (record, mended) = match machine.store.pair() {
        Pair::Valid { both: false, .. } => {
            print("write the damaged copy of the boot record\n")?;
            let record = machine.store.read()?;
            (
                if options.plan {
                    record
                } else {
                    machine.store.write(&record)?
                },
                true,
            )
        }
        Pair::Lost(_) => (rebuild_record(machine, options)?, true),
        _ => (machine.store.read()?, false),
    };
    let named = options
        .compatible
        .as_ref()
        .filter(|name| **name != record.compatible);
    let Some(name) = named else {
        return Ok((record, mended));
    };
    if record.compatible != Text64::EMPTY {
        let (found, wanted) = (record.compatible.to_string(), name.to_string());
        return Err(Failure::OtherCompatible { found, wanted });
    }
    print(&format!("write into the boot record: compatible {name}\n"))?;
    let record = Record {
        compatible: *name,
        ..record
    };
    Ok((
        if options.plan {
            record
        } else {
            machine.store.write(&record)?
        },
        true,
    ))
}

/// A new record from the sealed slots; written unless only a plan is asked for.
fn rebuild_record(machine: &Machine, options: &Repair) -> Result<Record, Failure> {
    let trust = load_trust(options.trust.as_deref().ok_or(Failure::NeedsTrust)?)?;
    let (found, errors) = evidence::gather(&machine.disk, &trust);
    let reasons: Vec<String> = Slot::ALL
        .iter()
        .zip(&errors)
        .filter_map(|(slot, error)| Some(format!("slot {slot}: {}", error.as_ref()?)))
        .collect();
    let Some(record) = rebuild(machine.disk.partitions(), &found) else {
        return Err(Failure::NoEvidence(reasons.join("; ")));
    };
    for reason in reasons {
        output::say(format_args!("warning: no evidence in {reason}"));
    }
    for slot in Slot::ALL
        .into_iter()
        .filter(|slot| record.slot(*slot).is_bootable())
    {
        print(&format!(
            "rebuild the boot record: slot {slot} {}\n",
            record.slot(slot).release.version
        ))?;
    }
    if options.plan {
        Ok(record)
    } else {
        Ok(machine.store.initialise(&record)?)
    }
}

/// The trust in a file: a trust block, or a guard program that carries one in a section.
fn load_trust(path: &Path) -> Result<Trust, Failure> {
    let bytes = std::fs::read(path).map_err(|source| Failure::File {
        path: path.to_owned(),
        source,
    })?;
    let blocks = bytes
        .windows(TRUST_BLOCK_LEN)
        .filter(|block| block.starts_with(&TRUST_BLOCK_MAGIC));
    let mut found = blocks.filter_map(|block| Trust::from_block(block.first_chunk()?).ok());
    Ok(found.next().ok_or(TrustError::Block)?)
}
