//! Boot entries with firmware that is full, refuses writes or drops them, and the budget of writes
//! to NVRAM.

use crate::{A, B, facts, foreign, record, set, settled};
use bootctl::efivars::{EfiVars, MemVars, VarError, VarName, Variable};
use bootctl::entry::{ACTIVE, LoadOption};
use bootctl::reconcile::{BootVars, Warning, run};
use bootctl::transition::{
    TargetSlot, Trial, TrustEpochs, activate, boot_once, commit, disarm, mark_bad, rollback,
};
use proptest::prelude::*;
use record::gpt::Partition;
use record::{Choice, Guid, Reason, Record, Release, Slot};

fn trial(release: Release, revoke: bool, tries: u8) -> Trial {
    Trial {
        release,
        revoke,
        epochs: TrustEpochs::default(),
        tries,
    }
}

#[test]
fn an_update_costs_two_writes_and_a_plain_boot_none() {
    let vars = MemVars::new();
    let record = record();
    assert_eq!(
        settled(&vars, &record, A).done.len(),
        4,
        "three entries and the order"
    );
    let before = vars.writes();
    let target = TargetSlot::choose(&record, A).unwrap();
    let release = Release {
        rollback_index: 2,
        ..Release::NONE
    };
    let trial = activate(&disarm(&record, target), target, trial(release, false, 3)).unwrap();
    settled(&vars, &trial, A);
    assert_eq!(BootVars::read(&vars).unwrap().next, Some(1));
    // The firmware removes BootNext when it uses it; that write is not ours.
    let firmware = BootVars::read(&vars).unwrap().next;
    assert_eq!(firmware, Some(1));
    vars.delete(&VarName::global("BootNext")).unwrap();
    let committed = commit(&trial, B).unwrap();
    settled(&vars, &committed, B);
    assert_eq!(BootVars::read(&vars).unwrap().order, [1, 0, 2]);
    assert_eq!(vars.writes() - before - 1, 2, "BootNext and BootOrder");
}

/// The budget of docs/boot.md: the maximum number of writes to NVRAM for each operation.
#[test]
fn each_operation_keeps_its_budget_of_writes() {
    let vars = MemVars::new();
    let mut spent = Vec::new();
    let mut settle = |what: &'static str, record: &Record, booted: Choice| {
        let before = vars.writes();
        settled(&vars, record, booted);
        spent.push((what, vars.writes() - before));
    };
    let empty = record();
    let empty = empty.with_slot(Slot::A, empty.slot(Slot::A).unbootable(Reason::Empty));
    let release = |rollback_index| Release {
        rollback_index,
        ..Release::NONE
    };
    let first = TargetSlot::of(&empty, Choice::Recovery, Slot::A).unwrap();
    let installed = activate(&empty, first, trial(release(1), false, 3)).unwrap();
    settle("install", &installed, Choice::Recovery);
    vars.delete(&VarName::global("BootNext")).unwrap();
    let running = commit(&installed, A).unwrap();
    settle("first commit", &running, A);
    settle("plain boot", &commit(&running, A).unwrap(), A);
    let target = TargetSlot::choose(&running, A).unwrap();
    let trial = activate(
        &disarm(&running, target),
        target,
        trial(release(2), false, 3),
    )
    .unwrap();
    settle("activate", &trial, A);
    vars.delete(&VarName::global("BootNext")).unwrap();
    let fallen = trial.with_slot(
        Slot::B,
        trial.slot(Slot::B).unbootable(Reason::TriesExhausted),
    );
    let updated = commit(&trial, B).unwrap();
    settle("commit", &updated, B);
    settle(
        "boot-once",
        &boot_once(&updated, Choice::Recovery).unwrap(),
        B,
    );
    settle(
        "mark-bad of the fallback",
        &mark_bad(&updated, Slot::A).unwrap(),
        B,
    );
    settle("rollback", &rollback(&updated, B).unwrap(), B);
    settle("fallback of a trial", &commit(&fallen, A).unwrap(), A);
    let expected = [
        ("install", 5),
        ("first commit", 0),
        ("plain boot", 0),
        ("activate", 1),
        ("commit", 1),
        ("boot-once", 0),
        ("mark-bad of the fallback", 0),
        ("rollback", 1),
        ("fallback of a trial", 0),
    ];
    assert_eq!(spent, expected);
}

#[test]
fn a_purged_store_gets_our_entries_again_beside_foreign_ones() {
    let vars = MemVars::new();
    for (name, data) in [
        ("Boot0000", foreign(b'w')),
        ("Boot0002", foreign(b'x')),
        ("Boot0A0A", foreign(b'y')),
    ] {
        set(&vars, name, &data);
    }
    set(&vars, "BootOrder", &[2, 0, 0x0a, 0x0a, 0, 0]);
    settled(&vars, &record(), A);
    let now = BootVars::read(&vars).unwrap();
    assert_eq!(now.order, [1, 3, 4, 2, 0x0a0a, 0]);
    assert_eq!(
        (&now.entries[&0], &now.entries[&2]),
        (&foreign(b'w'), &foreign(b'x'))
    );
}

#[test]
fn a_number_that_the_firmware_reused_stays_its_own() {
    let vars = MemVars::new();
    settled(&vars, &record(), A);
    set(&vars, "Boot0000", &foreign(b'U'));
    settled(&vars, &record(), A);
    let now = BootVars::read(&vars).unwrap();
    assert_eq!(now.entries[&0], foreign(b'U'));
    assert_eq!(now.order, [3, 1, 2, 0]);
}

#[test]
fn stale_duplicate_moved_and_inactive_entries_of_ours_are_repaired() {
    let vars = MemVars::new();
    let moved = Partition {
        first_lba: 4096,
        last_lba: 12_000,
        ..facts().esp
    };
    let retired = Partition {
        uuid: Guid([4; 16]),
        ..facts().esp
    };
    let another_machine = Partition {
        uuid: Guid([77; 16]),
        ..facts().esp
    };
    set(&vars, "Boot0003", &LoadOption::ours(A, &moved).encode());
    set(
        &vars,
        "Boot0004",
        &LoadOption::ours(B, &facts().esp).encode(),
    );
    set(
        &vars,
        "Boot0005",
        &LoadOption::ours(B, &facts().esp).encode(),
    );
    set(
        &vars,
        "Boot0006",
        &LoadOption {
            attributes: 0,
            ..LoadOption::ours(Choice::Recovery, &facts().esp)
        }
        .encode(),
    );
    set(&vars, "Boot0007", &LoadOption::ours(A, &retired).encode());
    set(
        &vars,
        "Boot0008",
        &LoadOption::ours(A, &another_machine).encode(),
    );
    set(&vars, "BootOrder", &[8, 0, 5, 0]);
    settled(&vars, &record(), A);
    let now = BootVars::read(&vars).unwrap();
    assert_eq!(
        now.entries.keys().copied().collect::<Vec<_>>(),
        [3, 5, 6, 8]
    );
    assert_eq!(now.order, [3, 5, 6, 8]);
    assert_eq!(
        LoadOption::parse(&now.entries[&3])
            .unwrap()
            .hard_drive()
            .unwrap()
            .first_lba,
        2048
    );
    assert_eq!(
        LoadOption::parse(&now.entries[&6]).unwrap().attributes & ACTIVE,
        ACTIVE
    );
}

#[test]
fn a_bootnext_set_by_another_program_is_not_changed() {
    let vars = MemVars::new();
    settled(&vars, &record(), A);
    set(&vars, "Boot0009", &foreign(b'f'));
    set(&vars, "BootNext", &[9, 0]);
    settled(&vars, &record(), A);
    assert_eq!(BootVars::read(&vars).unwrap().next, Some(9));
    // One of ours without a pending trial is stale.
    set(&vars, "BootNext", &[1, 0]);
    settled(&vars, &record(), A);
    assert_eq!(BootVars::read(&vars).unwrap().next, None);
}

#[test]
fn a_full_read_only_or_unreadable_store_is_a_warning() {
    for (error, words) in [
        (VarError::Full, "the firmware's variable store is full"),
        (VarError::ReadOnly, "EFI variables are read-only"),
    ] {
        let vars = MemVars::new();
        vars.fail_writes(Some(error));
        let report = run(&record(), &vars, &facts(), Some(A));
        assert_eq!((report.done.len(), vars.writes()), (0, 0));
        let expected =
            format!("boot entries not repaired: cannot write Boot0000, RayOS A: {words}");
        assert_eq!(report.warning.unwrap().to_string(), expected);
    }
    let vars = MemVars::new();
    vars.fail_reads(Some(VarError::Io));
    let report = run(&record(), &vars, &facts(), Some(A));
    assert_eq!(report.warning, Some(Warning::Unreadable(VarError::Io)));
    assert_eq!(
        vars.writes(),
        0,
        "what cannot be read is not taken for absent"
    );
}

/// Firmware that accepts writes and drops them.
struct Yes;

impl EfiVars for Yes {
    fn get(&self, _: &VarName) -> Result<Option<Variable>, VarError> {
        Ok(None)
    }
    fn names(&self) -> Result<Vec<VarName>, VarError> {
        Ok(Vec::new())
    }
    fn set(&self, _: &VarName, _: &Variable) -> Result<(), VarError> {
        Ok(())
    }
    fn delete(&self, _: &VarName) -> Result<(), VarError> {
        Ok(())
    }
}

#[test]
fn firmware_that_drops_a_change_is_detected_after_one_write() {
    let report = run(&record(), &Yes, &facts(), Some(A));
    assert_eq!(report.done.len(), 1);
    let words = "boot entries not repaired: the firmware accepted but did not make the change: write Boot0000, RayOS A";
    assert_eq!(report.warning.unwrap().to_string(), words);
}

proptest! {
    /// With any variables the run ends, foreign entries stay, and ours are first.
    #[test]
    fn any_variables_are_brought_in_line(
        entries in proptest::collection::btree_map(0_u16..8, proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        order in proptest::collection::vec(0_u16..10, 0..10),
        next in proptest::option::of(0_u16..10),
        ours in proptest::collection::vec((0_u16..8, 0_usize..3), 0..5),
    ) {
        let vars = MemVars::new();
        for (number, data) in &entries {
            set(&vars, &format!("Boot{number:04X}"), data);
        }
        for (number, which) in &ours {
            let choice = [A, B, Choice::Recovery][*which];
            set(&vars, &format!("Boot{number:04X}"), &LoadOption::ours(choice, &facts().esp).encode());
        }
        let numbers: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        set(&vars, "BootOrder", &numbers);
        if let Some(next) = next {
            set(&vars, "BootNext", &next.to_le_bytes());
        }
        let is_ours = |number: &u16| ours.iter().any(|(taken, _)| taken == number);
        settled(&vars, &record(), A);
        let now = BootVars::read(&vars).unwrap();
        for (number, data) in entries.iter().filter(|(number, _)| !is_ours(number)) {
            prop_assert_eq!(&now.entries[number], data);
        }
        let starts: Vec<_> = now.order.iter().take(3)
            .map(|number| LoadOption::parse(&now.entries[number]).unwrap().starts()).collect();
        prop_assert_eq!(starts, [Some(A), Some(B), Some(Choice::Recovery)]);
    }
}
