//! The decision of the guard: its truth table compared with a plain reading of the rules, and exact
//! counts.

use record::gpt::Partitions;
use record::{
    Choice, Decision, Guid, Reason, Record, Release, Request, Slot, SlotState, Status, Tried, Why,
    decide, passed_over,
};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);

fn record(a: Status, b: Status) -> Record {
    let slot = |status| SlotState {
        status,
        release: Release::NONE,
        ..SlotState::empty(Guid::ZERO, Guid::ZERO)
    };
    Record {
        seq: 1,
        slots: [slot(a), slot(b)],
        ..Record::unused(&Partitions::default())
    }
}

fn good(budget_left: u8) -> Status {
    Status::Good { budget_left }
}

fn pending(tries_left: u8) -> Status {
    Status::Pending { tries_left }
}

fn launched(decision: Decision) -> Option<(Choice, Why, Record)> {
    match decision {
        Decision::Launch {
            choice,
            why,
            record,
        } => Some((choice, why, record)),
        Decision::GiveUp { .. } => None,
    }
}

/// The rules as a list of candidates, independent of the implementation.
fn expected(record: &Record, request: Request, tried: Tried) -> Option<(Choice, Why)> {
    let left = |slot: Slot| match record.slot(slot).status {
        Status::Unbootable => 0,
        Status::Pending { tries_left: left } | Status::Good { budget_left: left } => left,
    };
    let pending = |slot: Slot| matches!(record.slot(slot).status, Status::Pending { .. });
    let can = |choice: Choice| {
        !tried.has(choice)
            && match choice {
                Choice::Slot(slot) => left(slot) > 0,
                Choice::Recovery => true,
            }
    };
    let (default, other) = (record.default, record.default.other());
    let mut candidates = Vec::new();
    candidates.extend(record.one_shot.map(|choice| (choice, Why::OneShot)));
    if request == Request::Recovery {
        candidates.push((Choice::Recovery, Why::Requested));
    }
    for slot in [other, default] {
        if pending(slot) {
            candidates.push((Choice::Slot(slot), Why::Trial));
        }
    }
    candidates.push((Choice::Slot(default), Why::Default));
    candidates.push((Choice::Slot(other), Why::Fallback));
    candidates.push((Choice::Recovery, Why::NothingBootable));
    candidates.into_iter().find(|(choice, _)| can(*choice))
}

#[test]
fn the_whole_truth_table() {
    let statuses = [
        Status::Unbootable,
        pending(0),
        pending(1),
        pending(3),
        good(0),
        good(1),
        good(8),
    ];
    let one_shots = [None, Some(A), Some(B), Some(Choice::Recovery)];
    let tries: Vec<Tried> = (0..8_u8)
        .map(|bits| {
            let all = [A, B, Choice::Recovery].into_iter().zip([1, 2, 4]);
            all.filter(|(_, bit)| bits & bit != 0)
                .fold(Tried::default(), |tried, (choice, _)| tried.with(choice))
        })
        .collect();
    let mut rows = 0;
    for a in statuses {
        for b in statuses {
            for default in Slot::ALL {
                for one_shot in one_shots {
                    for request in [Request::Plain, Request::Recovery] {
                        for tried in &tries {
                            let record = Record {
                                default,
                                one_shot,
                                ..record(a, b)
                            };
                            check(&record, request, *tried);
                            rows += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(rows, 7 * 7 * 2 * 4 * 2 * 8);
}

fn check(record: &Record, request: Request, tried: Tried) {
    let decision = decide(record, request, tried);
    let found = launched(decision);
    let row = format!("{record:?} {request:?} {tried:?}");
    assert_eq!(
        found.map(|(choice, why, _)| (choice, why)),
        expected(record, request, tried),
        "{row}"
    );
    let after = match decision {
        Decision::Launch { record, .. } | Decision::GiveUp { record } => record,
    };
    assert_eq!(after.one_shot, None, "{row}");
    for slot in Slot::ALL {
        let spent = u8::from(found.is_some_and(|(choice, ..)| choice == Choice::Slot(slot)));
        let wanted = match record.slot(slot).status {
            Status::Pending { tries_left: 0 }
            | Status::Good { budget_left: 0 }
            | Status::Unbootable => Status::Unbootable,
            Status::Pending { tries_left } => pending(tries_left - spent),
            Status::Good { budget_left } => good(budget_left - spent),
        };
        assert_eq!(after.slot(slot).status, wanted, "{row}");
    }
    assert_eq!(
        (after.default, after.floor, after.seq),
        (record.default, record.floor, record.seq),
        "{row}"
    );
}

#[test]
fn a_release_that_never_commits_is_started_exactly_as_often_as_it_has_tries() {
    for tries in 1..=15 {
        let mut record = record(good(8), pending(tries));
        let mut starts = 0;
        loop {
            let (choice, why, after) =
                launched(decide(&record, Request::Plain, Tried::default())).unwrap();
            record = after;
            if choice == A {
                assert_eq!(why, Why::Default);
                break;
            }
            starts += 1;
        }
        assert_eq!(starts, tries);
        assert_eq!(record.slot(Slot::B).reason, Reason::TriesExhausted);
    }
}

#[test]
fn a_good_slot_that_fails_to_commit_falls_back_to_the_other_and_then_to_recovery() {
    let mut record = record(good(8), good(8));
    let mut starts = Vec::new();
    for _ in 0..18 {
        let (choice, _, after) =
            launched(decide(&record, Request::Plain, Tried::default())).unwrap();
        starts.push(choice);
        record = after;
    }
    let expected = [[A; 8].as_slice(), &[B; 8], &[Choice::Recovery; 2]].concat();
    assert_eq!(starts, expected);
    assert_eq!(record.slot(Slot::A).reason, Reason::BudgetExhausted);
}

#[test]
fn a_failed_candidate_is_not_started_again_in_the_same_run() {
    let mut record = Record {
        one_shot: Some(B),
        ..record(good(8), good(8))
    };
    let mut tried = Tried::default();
    let mut order = Vec::new();
    while let Some((choice, _, after)) = launched(decide(&record, Request::Plain, tried)) {
        record = after;
        tried = tried.with(choice);
        order.push(choice);
    }
    assert_eq!(order, [B, A, Choice::Recovery]);
}

#[test]
fn permanent_failures_make_a_slot_unbootable_and_temporary_ones_do_not() {
    let record = record(good(8), pending(2));
    for reason in [
        Reason::HeaderDamaged,
        Reason::SignatureRefused,
        Reason::ImageDamaged,
        Reason::OtherRelease,
        Reason::BelowFloor,
    ] {
        let after = passed_over(&record, Slot::B, reason);
        assert_eq!(
            (after.slot(Slot::B).status, after.slot(Slot::B).reason),
            (Status::Unbootable, reason)
        );
        assert_eq!(after.slot(Slot::A), record.slot(Slot::A));
    }
    for reason in [
        Reason::ReadFailed,
        Reason::LoadFailed,
        Reason::SecureBoot,
        Reason::Returned,
    ] {
        assert_eq!(passed_over(&record, Slot::B, reason), record);
    }
}
