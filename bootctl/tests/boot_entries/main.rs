//! The boot entries of a machine.

mod entries;
mod odd_entries;

use bootctl::efivars::{EfiVars as _, MemVars, PERSISTENT, VarName, Variable};
use bootctl::reconcile::{Facts, Report, run};
use record::gpt::{Partition, Partitions};
use record::{Choice, GOOD_BUDGET, Guid, Reason, Record, Release, Slot, SlotState, Status, Text64};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);

fn facts() -> Facts {
    let esp = Partition {
        uuid: Guid([5; 16]),
        number: 1,
        first_lba: 2048,
        last_lba: 10_000,
    };
    Facts {
        esp,
        retired: vec![Guid([4; 16])],
    }
}

fn record() -> Record {
    let status = Status::Good {
        budget_left: GOOD_BUDGET,
    };
    let release = Release {
        version: Text64::EMPTY,
        rollback_index: 1,
        manifest_sha256: [1; 32],
    };
    let slot = SlotState {
        status,
        reason: Reason::None,
        release,
        ..SlotState::empty(Guid::ZERO, Guid::ZERO)
    };
    let slots = [slot, slot.unbootable(Reason::Empty)];
    Record {
        seq: 1,
        slots,
        ..Record::unused(&Partitions::default())
    }
}

fn set(vars: &MemVars, name: &str, data: &[u8]) {
    vars.set(
        &VarName::global(name),
        &Variable {
            attributes: PERSISTENT,
            data: data.to_vec(),
        },
    )
    .unwrap();
}

fn foreign(name: u8) -> Vec<u8> {
    vec![1, 0, 0, 0, 4, 0, name, 0, 0, 0, 0x7f, 0xff, 4, 0]
}

fn settled(vars: &MemVars, record: &Record, booted: Choice) -> Report {
    let report = run(record, vars, &facts(), Some(booted));
    assert_eq!(report.warning, None);
    assert_eq!(
        run(record, vars, &facts(), Some(booted)),
        Report::default(),
        "again changes nothing"
    );
    report
}
