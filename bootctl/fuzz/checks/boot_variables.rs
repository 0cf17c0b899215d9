//! Any entries, `BootOrder` and `BootNext`: reconciling ends within its bound and keeps foreign
//! entries, and a firmware then starts ours first.
#![allow(clippy::indexing_slicing, reason = "a check")]

use bootctl::entry::LoadOption;
use bootctl::firmware_model::{Start, boot};
use bootctl::reconcile::{BootVars, Facts, MAX_ACTIONS, next_action};
use record::gpt::{Partition, Partitions};
use record::{Choice, Guid, Record, Slot};
use std::collections::BTreeMap;

const ALL: [Choice; 3] = [
    Choice::Slot(Slot::A),
    Choice::Slot(Slot::B),
    Choice::Recovery,
];

fn esp(uuid: u8) -> Partition {
    Partition {
        uuid: Guid([uuid; 16]),
        number: 1,
        first_lba: 2048,
        last_lba: 4095,
    }
}

/// `BootNext` (a byte for whether there is one, then its number), the length of the order and the
/// order (a byte for each number), then entries: number, kind, and for kind 0 a length and that
/// many bytes.
fn variables(data: &[u8]) -> Option<BootVars> {
    let mut bytes = data.iter().copied();
    let mut vars = BootVars::default();
    let (has_next, next, orders) = (bytes.next()?, bytes.next()?, bytes.next()?);
    vars.next = (has_next & 1 == 1).then_some(u16::from(next));
    for _ in 0..orders & 15 {
        vars.order.push(u16::from(bytes.next()?));
    }
    // More entries take longer without testing more.
    while vars.entries.len() < 40
        && let (Some(number), Some(kind)) = (bytes.next(), bytes.next())
    {
        let data = match kind % 7 {
            0 => {
                let len = bytes.next()?;
                bytes.by_ref().take(usize::from(len)).collect()
            }
            kind @ 1..=3 => LoadOption::ours(ALL[usize::from(kind) - 1], &esp(5)).encode(),
            kind => LoadOption::ours(ALL[usize::from(kind) - 4], &esp(6)).encode(),
        };
        vars.entries.insert(u16::from(number), data);
    }
    Some(vars)
}

/// Variables as [`variables`] reads them.
pub(crate) fn check(data: &[u8]) {
    let Some(mut vars) = variables(data) else {
        return;
    };
    let facts = Facts {
        esp: esp(5),
        retired: Vec::new(),
    };
    let record = Record {
        seq: 1,
        ..Record::unused(&Partitions::default())
    };
    let is_foreign = |bytes: &Vec<u8>| {
        LoadOption::parse(bytes).map_or(true, |option| {
            option.starts().is_none()
                || option
                    .hard_drive()
                    .is_none_or(|drive| drive.uuid != facts.esp.uuid)
        })
    };
    let before: BTreeMap<u16, Vec<u8>> = vars
        .entries
        .iter()
        .filter(|(_, bytes)| is_foreign(bytes))
        .map(|(number, bytes)| (*number, bytes.clone()))
        .collect();
    for _ in 0..MAX_ACTIONS + vars.entries.len() {
        let Some(action) = next_action(&record, &vars, &facts, Some(Choice::Recovery)) else {
            break;
        };
        vars = vars.after(&action);
    }
    assert_eq!(
        next_action(&record, &vars, &facts, Some(Choice::Recovery)),
        None,
        "it settles"
    );
    assert!(
        before
            .iter()
            .all(|(number, bytes)| vars.entries.get(number) == Some(bytes)),
        "foreign entries stay"
    );
    vars.next = None;
    let ours = |option: &LoadOption| {
        option.starts().is_some()
            && option
                .hard_drive()
                .is_some_and(|drive| drive.uuid == facts.esp.uuid)
    };
    let came = boot(&vars, &[], |_, option| {
        if ours(option) {
            Start::TookOver
        } else {
            Start::NotThere
        }
    });
    assert_eq!(came.taken, vars.order.first().copied(), "ours are first");
}
