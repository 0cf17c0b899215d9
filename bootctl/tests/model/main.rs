//! The protocol, explored whole: every state that updates, commits, rollbacks, fallbacks, recovery,
//! power cuts at every step, releases that work, fail or return, and hostile firmware can lead to.
//! Then the same with single barriers taken away, each of which a check must notice.

mod explore;
mod world;

use explore::{Fate, explore};
use std::io::Write as _;
use world::{Mutant, Rules};

const PROTOCOL: Fate = Fate {
    releases: &[0, 1, 2],
    person: false,
    wear: true,
    loss: false,
    rot: false,
    misdeeds: 0,
};
const PERSON: Fate = Fate {
    releases: &[0, 2],
    person: true,
    wear: false,
    loss: false,
    rot: false,
    misdeeds: 0,
};
const REVOKING: Fate = Fate {
    releases: &[1, 3, 4],
    person: false,
    wear: false,
    loss: false,
    rot: false,
    misdeeds: 0,
};
const LOSS: Fate = Fate {
    releases: &[0, 1],
    person: false,
    wear: false,
    loss: true,
    rot: false,
    misdeeds: 0,
};
const ROT: Fate = Fate {
    releases: &[0, 1, 2],
    person: false,
    wear: false,
    loss: false,
    rot: true,
    misdeeds: 0,
};
const TWICE_HOSTILE: Fate = Fate {
    releases: &[0],
    person: false,
    wear: false,
    loss: false,
    rot: false,
    misdeeds: 2,
};
const HOSTILE: Fate = Fate {
    releases: &[0, 2],
    person: false,
    wear: false,
    loss: false,
    rot: false,
    misdeeds: 1,
};

fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").unwrap();
}

fn holds(name: &str, fate: Fate) {
    let found = explore(&Rules::default(), fate);
    say(&format!(
        "{name}: {} states, {} steps, violation: {:?}",
        found.states, found.steps, found.violation
    ));
    assert_eq!(found.violation, None, "{name}:\n{}", found.story);
}

#[test]
fn updates_cuts_and_worn_releases() {
    holds("protocol", PROTOCOL);
}

#[test]
fn a_person_who_rolls_back_and_redirects() {
    holds("person", PERSON);
}

#[test]
fn releases_that_return_or_revoke() {
    holds("revoking", REVOKING);
}

#[test]
fn the_record_is_lost_once() {
    holds("loss", LOSS);
}

#[test]
fn the_newest_copy_of_the_record_is_lost_once() {
    holds("rot", ROT);
}

#[test]
fn firmware_that_works_against_us() {
    holds("hostile", HOSTILE);
}

#[test]
fn firmware_that_works_against_us_twice() {
    holds("twice hostile", TWICE_HOSTILE);
}

/// Each barrier, or two that mask each other, with what notices that it is gone.
#[test]
fn every_missing_barrier_is_noticed() {
    use Mutant::*;
    let mutants: [(&[Mutant], Fate); 20] = [
        (&[NoSpend], PROTOCOL),
        (&[NoDisarm, NoVerify], PROTOCOL),
        (&[ActivateFirst, NoVerify], PROTOCOL),
        (&[HeaderFirst, NoDisarm, HeaderOnlyVerified], PROTOCOL),
        (&[ActivateFirst, HeaderFirst, HeaderOnlyVerified], PROTOCOL),
        (&[CommitAtLaunch], PROTOCOL),
        (&[FloorAtActivate], PROTOCOL),
        (&[FloorAtOwnIndex], PROTOCOL),
        (&[DefaultAtActivate], PROTOCOL),
        (&[FallbackOverwritten], PROTOCOL),
        (&[BudgetNeverSpent], PROTOCOL),
        (&[BudgetNeverRefilled], PROTOCOL),
        (&[OneShotSticks], PERSON),
        (&[TriesRefilled], PROTOCOL),
        (&[LostRecordMeansGood], LOSS),
        (&[DefaultNotMended], PROTOCOL),
        (&[EntriesNotRepaired], HOSTILE),
        (&[BootNextKept], PERSON),
        (&[ForeignDropped], HOSTILE),
        (&[CommitInOneCopy], ROT),
    ];
    let mut survivors = Vec::new();
    for (mutants, fate) in mutants {
        let found = explore(&Rules(mutants.to_vec()), fate);
        say(&format!(
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
        "nothing noticed that these are gone"
    );
}
