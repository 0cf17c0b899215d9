//! The protocol, explored completely: all states that updates, commits, rollbacks, fallbacks,
//! recovery, power cuts at each step, releases that work, fail or return, and faulty firmware can
//! lead to. Then the same with single barriers taken away; a check must detect each of them.
//!
//! | module | holds |
//! | --- | --- |
//! | `checks` | the invariants |
//! | `events` | what may happen to the machine |
//! | `explore` | the exploration of all states |
//! | `guard` | firmware and guard, around the real decision |
//! | `mutants` | barriers that can be taken away |
//! | `releases` | the releases on offer |
//! | `system` | the running system, around the real transitions |
//! | `world` | the state of the machine |

mod checks;
mod events;
mod explore;
mod guard;
mod mutants;
mod releases;
mod system;
mod world;

use events::Scenario;
use explore::explore;
use mutants::{Mutant, Rules};
use std::io::Write as _;

/// A scenario without any fault but power cuts.
const CALM: Scenario = Scenario {
    releases: &[],
    operator: false,
    release_wears_out: false,
    record_lost: false,
    copy_lost: false,
    firmware_faults: 0,
};
const UPDATES: Scenario = Scenario {
    releases: &[0, 1, 2],
    release_wears_out: true,
    ..CALM
};
const OPERATOR: Scenario = Scenario {
    releases: &[0, 2],
    operator: true,
    ..CALM
};
const REVOKING: Scenario = Scenario {
    releases: &[1, 3, 4],
    ..CALM
};
const RECORD_LOST: Scenario = Scenario {
    releases: &[0, 1],
    record_lost: true,
    ..CALM
};
const COPY_LOST: Scenario = Scenario {
    releases: &[0, 1, 2],
    copy_lost: true,
    ..CALM
};
const FIRMWARE_FAULT: Scenario = Scenario {
    releases: &[0, 2],
    firmware_faults: 1,
    ..CALM
};
const TWO_FIRMWARE_FAULTS: Scenario = Scenario {
    releases: &[0],
    firmware_faults: 2,
    ..CALM
};

fn print(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").unwrap();
}

fn holds(name: &str, scenario: Scenario) {
    let found = explore(&Rules::default(), scenario);
    print(&format!(
        "{name}: {} states, {} steps, violation: {:?}",
        found.states, found.steps, found.violation
    ));
    assert_eq!(found.violation, None, "{name}:\n{}", found.path);
}

#[test]
fn updates_power_cuts_and_releases_that_begin_to_fail() {
    holds("updates", UPDATES);
}

#[test]
fn an_operator_who_rolls_back_and_requests_boots() {
    holds("operator", OPERATOR);
}

#[test]
fn releases_that_return_or_revoke() {
    holds("revoking", REVOKING);
}

#[test]
fn both_copies_of_the_record_are_lost_once() {
    holds("record lost", RECORD_LOST);
}

#[test]
fn the_newer_copy_of_the_record_is_lost_once() {
    holds("copy lost", COPY_LOST);
}

#[test]
fn firmware_with_one_fault() {
    holds("firmware fault", FIRMWARE_FAULT);
}

#[test]
fn firmware_with_two_faults() {
    holds("two firmware faults", TWO_FIRMWARE_FAULTS);
}

/// Each barrier, or several that mask each other, with the scenario that detects its absence.
#[test]
fn each_missing_barrier_is_detected() {
    use Mutant::*;
    let mutants: [(&[Mutant], Scenario); 22] = [
        (&[NoSpend], UPDATES),
        (&[NoDisarm, NoVerify], UPDATES),
        (&[ActivateFirst, NoVerify], UPDATES),
        (&[HeaderFirst, NoDisarm, HeaderOnlyVerified], UPDATES),
        (&[ActivateFirst, HeaderFirst, HeaderOnlyVerified], UPDATES),
        (&[CommitAtLaunch], UPDATES),
        (&[FloorAtActivate], UPDATES),
        (&[FloorAtOwnIndex], UPDATES),
        (&[TrustFloorAtActivate], UPDATES),
        (&[TrustFloorAtOwnEpoch], UPDATES),
        (&[DefaultAtActivate], UPDATES),
        (&[FallbackOverwritten], UPDATES),
        (&[BudgetNeverSpent], UPDATES),
        (&[BudgetNeverRefilled], UPDATES),
        (&[OneShotSticks], OPERATOR),
        (&[TriesRefilled], UPDATES),
        (&[LostRecordMeansGood], RECORD_LOST),
        (&[DefaultNotRepaired], UPDATES),
        (&[EntriesNotRepaired], FIRMWARE_FAULT),
        (&[BootNextKept], OPERATOR),
        (&[ForeignDropped], FIRMWARE_FAULT),
        (&[CommitInOneCopy], COPY_LOST),
    ];
    let mut survivors = Vec::new();
    for (mutants, scenario) in mutants {
        let found = explore(&Rules(mutants.to_vec()), scenario);
        print(&format!(
            "without {mutants:?}: {:?} after {} states",
            found.violation, found.states
        ));
        if found.violation.is_none() {
            survivors.push(mutants);
        }
    }
    assert_eq!(
        survivors,
        Vec::<&[Mutant]>::new(),
        "no check detected that these are missing"
    );
}
