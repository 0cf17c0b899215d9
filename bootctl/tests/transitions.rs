//! The transitions of the record, and the refusals with their words.

use bootctl::transition::{
    EXCUSED_BUDGET, Refusal, TargetSlot, Trial, TrustEpochs, activate, begin_repair, boot_once,
    commit, disarm, end_repair, excuse, mark_bad, rearm, rollback,
};
use proptest::prelude::*;
use record::gpt::Partitions;
use record::{Choice, GOOD_BUDGET, Guid, Reason, Record, Release, Slot, SlotState, Status, Text64};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);

fn trial(release: Release, revoke: bool, tries: u8) -> Trial {
    Trial {
        release,
        revoke,
        epochs: TrustEpochs::default(),
        tries,
    }
}

fn release(rollback_index: u64) -> Release {
    Release {
        version: Text64::new("9.9.9").unwrap(),
        rollback_index,
        manifest_sha256: [9; 32],
    }
}

fn good(index: u64) -> SlotState {
    let status = Status::Good {
        budget_left: GOOD_BUDGET,
    };
    SlotState {
        status,
        reason: Reason::None,
        release: release(index),
        ..SlotState::empty(Guid::ZERO, Guid::ZERO)
    }
}

fn pending(index: u64) -> SlotState {
    SlotState {
        status: Status::Pending { tries_left: 2 },
        tries_granted: 3,
        ..good(index)
    }
}

fn record(a: SlotState, b: SlotState) -> Record {
    Record {
        seq: 1,
        floor: 1,
        slots: [a, b],
        ..Record::unused(&Partitions::default())
    }
}

#[test]
fn the_target_is_never_the_booted_slot() {
    let both = record(good(1), good(2));
    assert_eq!(TargetSlot::choose(&both, A).unwrap().slot(), Slot::B);
    let other_way = Record {
        default: Slot::B,
        ..both
    };
    assert_eq!(TargetSlot::choose(&other_way, B).unwrap().slot(), Slot::A);
    // The slot that the next boot starts is not a target either, although another one runs.
    assert_eq!(
        TargetSlot::choose(&both, B),
        Err(Refusal::IsDefault(Slot::A))
    );
    assert_eq!(
        TargetSlot::of(&both, A, Slot::A),
        Err(Refusal::Booted(Slot::A))
    );
    assert_eq!(
        Refusal::Booted(Slot::A).to_string(),
        "slot A is the booted slot"
    );
    // From recovery: a slot that cannot be started, else the one that is not the default.
    assert_eq!(
        TargetSlot::choose(&both, Choice::Recovery).unwrap().slot(),
        Slot::B
    );
    let broken = record(good(1).unbootable(Reason::ImageDamaged), good(2));
    assert_eq!(
        TargetSlot::choose(&broken, Choice::Recovery)
            .unwrap()
            .slot(),
        Slot::A
    );
}

#[test]
fn the_only_fallback_of_an_uncommitted_slot_is_not_a_target() {
    let refusal = Refusal::OnlyFallback {
        booted: Slot::B,
        fallback: Slot::A,
    };
    assert_eq!(
        TargetSlot::choose(&record(good(1), pending(2)), B),
        Err(refusal)
    );
    let worn = SlotState {
        status: Status::Good {
            budget_left: GOOD_BUDGET - 1,
        },
        ..good(2)
    };
    assert_eq!(TargetSlot::choose(&record(good(1), worn), B), Err(refusal));
    let words = "slot B has not committed in this boot: slot A is its only fallback";
    assert_eq!(refusal.to_string(), words);
    // A slot that is not Good is not a fallback.
    let default_b = Record {
        default: Slot::B,
        ..record(pending(1), worn)
    };
    assert_eq!(TargetSlot::choose(&default_b, B).unwrap().slot(), Slot::A);
}

#[test]
fn disarming_removes_the_default_and_the_request_for_the_slot() {
    let before = Record {
        default: Slot::B,
        one_shot: Some(B),
        ..record(good(1), good(2))
    };
    let after = disarm(
        &before,
        TargetSlot::of(&before, Choice::Recovery, Slot::B).unwrap(),
    );
    assert_eq!((after.default, after.one_shot), (Slot::A, None));
    assert_eq!(after.slot(Slot::B).reason, Reason::Updating);
    assert_eq!(after.slot(Slot::A), before.slot(Slot::A));
    let again = disarm(&after, TargetSlot::of(&after, A, Slot::B).unwrap());
    assert_eq!(again, after, "doing it again changes nothing");
}

#[test]
fn activation_requires_a_disarmed_slot_an_index_above_the_floor_and_tries() {
    let armed = record(good(1), good(2));
    let target = TargetSlot::choose(&armed, A).unwrap();
    assert_eq!(
        activate(&armed, target, trial(release(3), false, 3)),
        Err(Refusal::NotDisarmed(Slot::B))
    );
    let open = disarm(&armed, target);
    let refusal = activate(&open, target, trial(release(0), false, 3)).unwrap_err();
    assert_eq!(refusal.to_string(), "rollback index 0 is below the floor 1");
    for tries in [0, 16, 255] {
        assert_eq!(
            activate(&open, target, trial(release(3), false, tries)),
            Err(Refusal::Tries(tries))
        );
    }
    let after = activate(&open, target, trial(release(3), true, 3)).unwrap();
    let state = after.slot(Slot::B);
    assert_eq!(
        (state.status, state.tries_granted, state.revoke),
        (Status::Pending { tries_left: 3 }, 3, true)
    );
    assert_eq!(
        (after.default, after.floor),
        (Slot::A, 1),
        "default and floor wait for the commit"
    );
}

#[test]
fn the_first_commit_moves_default_and_floor_and_later_ones_only_the_budget() {
    let after = commit(&record(good(4), pending(7)), B).unwrap();
    assert_eq!(
        (after.default, after.floor),
        (Slot::B, 4),
        "the floor keeps the fallback"
    );
    assert!(after.slot(Slot::A).is_good());
    assert_eq!(
        after.slot(Slot::B).status,
        Status::Good {
            budget_left: GOOD_BUDGET
        }
    );
    assert_eq!(
        commit(&after, B),
        Ok(after),
        "doing it again changes nothing"
    );
    let spent = SlotState {
        status: Status::Good { budget_left: 1 },
        ..good(4)
    };
    let one_boot_of_a = after.with_slot(Slot::A, spent);
    assert_eq!(
        commit(&one_boot_of_a, A),
        Ok(after),
        "a single boot does not move the default"
    );
    // A single release sets the floor; if it revokes, older ones become Unbootable.
    let alone = commit(&record(pending(7), good(3).unbootable(Reason::Empty)), A).unwrap();
    assert_eq!(alone.floor, 7);
    let revoking = commit(
        &record(
            good(4),
            SlotState {
                revoke: true,
                ..pending(7)
            },
        ),
        B,
    )
    .unwrap();
    assert_eq!(
        (revoking.floor, revoking.slot(Slot::A).reason),
        (7, Reason::Revoked)
    );
    assert_eq!(revoking.default, Slot::B);
}

#[test]
fn a_fallback_that_commits_becomes_the_default() {
    let before = Record {
        default: Slot::B,
        ..record(good(1), good(2).unbootable(Reason::BudgetExhausted))
    };
    assert_eq!(commit(&before, A).unwrap().default, Slot::A);
    let marked = record(good(1).unbootable(Reason::MarkedBad), good(2));
    let words = "slot A cannot be started: it was marked bad";
    assert_eq!(commit(&marked, A).unwrap_err().to_string(), words);
    assert_eq!(commit(&marked, Choice::Recovery), Err(Refusal::NotASlot));
}

#[test]
fn a_rollback_makes_a_trial_unbootable_and_keeps_a_good_slot_as_the_fallback() {
    let given_up = rollback(&record(good(1), pending(2)), B).unwrap();
    assert_eq!(
        (given_up.default, given_up.slot(Slot::B).reason),
        (Slot::A, Reason::RolledBack)
    );
    let kept = rollback(&record(good(1), good(2)), A).unwrap();
    assert_eq!(kept.default, Slot::B);
    assert!(kept.slot(Slot::A).is_good());
    assert_eq!(
        rollback(&record(good(1), pending(2)), A),
        Err(Refusal::NotCommitted(Slot::B))
    );
    let nothing = record(good(1), good(2).unbootable(Reason::Empty));
    let reason = Reason::Empty;
    assert_eq!(
        rollback(&nothing, A),
        Err(Refusal::NotBootable {
            slot: Slot::B,
            reason
        })
    );
}

#[test]
fn one_shots_and_marking_bad_always_leave_a_bootable_slot() {
    let both = record(good(1), good(2));
    assert_eq!(
        boot_once(&both, Choice::Recovery).unwrap().one_shot,
        Some(Choice::Recovery)
    );
    let bad = mark_bad(
        &Record {
            one_shot: Some(A),
            ..both
        },
        Slot::A,
    )
    .unwrap();
    assert_eq!((bad.default, bad.one_shot), (Slot::B, None));
    assert_eq!(
        boot_once(&bad, A),
        Err(Refusal::NotBootable {
            slot: Slot::A,
            reason: Reason::MarkedBad
        })
    );
    assert_eq!(mark_bad(&bad, Slot::A), Ok(bad));
    assert_eq!(mark_bad(&bad, Slot::B), Err(Refusal::LastBootable(Slot::B)));
}

proptest! {
    /// Only an exhausted budget is given back, and to no release below the floor; nothing else of
    /// the record changes, except for a default that cannot be started.
    #[test]
    fn a_slot_is_armed_again_only_after_its_budget_ran_out(code in 0_u8..19, index in 0_u64..4, floor in 0_u64..4, is_default: bool) {
        let reason = Reason::from_code(code);
        let good = record_with(Status::Good { budget_left: 8 }, Status::Good { budget_left: 8 });
        let mut state = good.slot(Slot::A).unbootable(reason);
        state.release.rollback_index = index;
        let default = if is_default { Slot::A } else { Slot::B };
        let before = Record { floor, default, ..good.with_slot(Slot::A, state) };
        match rearm(&before, Slot::A) {
            Ok(after) => {
                prop_assert_eq!(reason, Reason::BudgetExhausted);
                prop_assert!(index >= floor && after.slot(Slot::A).is_good());
                let again = Record { default, ..after.with_slot(Slot::A, state) };
                prop_assert_eq!(again, before);
                prop_assert_eq!(after.default, default);
                // It has not committed: its fallback is not a target while it runs.
                let target = TargetSlot::of(&after, Choice::Slot(Slot::A), Slot::B);
                prop_assert!(matches!(target, Err(Refusal::OnlyFallback { .. })), "{:?}", target);
                prop_assert_eq!(rearm(&after, Slot::A), Ok(after), "again changes nothing");
            }
            Err(Refusal::BelowFloor { .. }) => prop_assert!(index < floor),
            Err(error) => {
                prop_assert_eq!(error, Refusal::NotExhausted { slot: Slot::A, reason });
                prop_assert_ne!(reason, Reason::BudgetExhausted);
            }
        }
    }

    /// Waiting for a check costs a Good slot nothing, and commits nothing.
    #[test]
    fn boots_that_wait_for_a_check_are_not_counted(left in 0_u8..9, other in 0_u8..9) {
        let before = record_with(Status::Good { budget_left: left }, Status::Good { budget_left: other });
        let after = excuse(&before, Choice::Slot(Slot::A));
        let expected = Status::Good { budget_left: left.max(EXCUSED_BUDGET) };
        let state = SlotState { status: expected, ..*before.slot(Slot::A) };
        prop_assert_eq!(after, before.with_slot(Slot::A, state));
        let has_committed = TargetSlot::of(&after, Choice::Slot(Slot::A), Slot::B).is_ok();
        prop_assert_eq!(has_committed, left == 8);
    }
}

#[test]
fn only_a_good_slot_is_excused() {
    for status in [Status::Unbootable, Status::Pending { tries_left: 1 }] {
        let before = record_with(status, Status::Good { budget_left: 8 });
        assert_eq!(excuse(&before, Choice::Slot(Slot::A)), before);
        assert_eq!(excuse(&before, Choice::Recovery), before);
    }
}

#[test]
fn a_slot_armed_again_replaces_a_default_that_cannot_be_started() {
    let good = record_with(Status::Good { budget_left: 8 }, Status::Unbootable);
    let state = good.slot(Slot::A).unbootable(Reason::BudgetExhausted);
    let before = Record {
        default: Slot::B,
        ..good.with_slot(Slot::A, state)
    };
    assert_eq!(rearm(&before, Slot::A).unwrap().default, Slot::A);
}

fn record_with(a: Status, b: Status) -> Record {
    let record = Record::unused(&Partitions::default());
    let slots = record.slots.map(|state| SlotState {
        reason: Reason::None,
        ..state
    });
    let [state_a, state_b] = slots;
    let slots = [
        SlotState {
            status: a,
            ..state_a
        },
        SlotState {
            status: b,
            ..state_b
        },
    ];
    Record { slots, ..record }
}

#[test]
fn marking_a_slot_bad_ends_the_update_or_repair_that_writes_it() {
    let both = record(good(1), good(2));
    let target = TargetSlot::of(&both, A, Slot::B).unwrap();
    for written in [disarm(&both, target), begin_repair(&both, target).unwrap()] {
        let bad = mark_bad(&written, Slot::B).unwrap();
        assert_eq!(bad.slot(Slot::B).reason, Reason::MarkedBad);
        assert!(end_repair(&bad, target).is_err());
        assert_eq!(mark_bad(&bad, Slot::B), Ok(bad));
    }
}
