//! Any entries, BootOrder and BootNext: reconciling settles, within its bound, and keeps what is foreign.
#![no_main]

use bootctl::entry::LoadOption;
use bootctl::reconcile::{BootVars, Facts, MAX_ACTIONS, next_action};
use libfuzzer_sys::fuzz_target;
use record::gpt::{Partition, Partitions};
use record::{Choice, Guid, Record};
use std::collections::BTreeMap;

fuzz_target!(|input: (BTreeMap<u16, Vec<u8>>, Vec<u16>, Option<u16>)| {
    let (entries, order, next) = input;
    let esp = Partition { uuid: Guid([5; 16]), number: 1, first_lba: 2048, last_lba: 4095 };
    let facts = Facts { esp, retired: Vec::new() };
    let record = Record { seq: 1, ..Record::unused(&Partitions::default()) };
    let is_foreign = |bytes: &Vec<u8>| LoadOption::parse(bytes).map_or(true, |option| option.starts().is_none());
    let before: BTreeMap<_, _> = entries.iter().filter(|(_, bytes)| is_foreign(bytes)).collect();
    let mut vars = BootVars { entries: entries.clone(), order, next, current: None };
    for _ in 0..MAX_ACTIONS + entries.len() {
        let Some(action) = next_action(&record, &vars, &facts, Some(Choice::Recovery)) else { break };
        vars = vars.after(&action);
    }
    assert_eq!(next_action(&record, &vars, &facts, Some(Choice::Recovery)), None, "it settles");
    assert!(before.iter().all(|(number, bytes)| vars.entries.get(number) == Some(bytes)), "foreign entries stay");
});
