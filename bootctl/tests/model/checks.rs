//! The invariants, I1 to I7 of docs/architecture.md among them.

use crate::mutants::Rules;
use crate::releases::{Behaviour, Content};
use crate::world::{Phase, Task, World, facts};
use bootctl::entry::LoadOption;
use bootctl::reconcile::{BootVars, next_action};
use record::{Choice, Slot, SlotState, Status};

fn fail(what: &str) -> Result<(), String> {
    Err(what.to_owned())
}

/// Checks what must hold in each state.
pub(crate) fn check_state(world: &World) -> Result<(), String> {
    let Some(record) = world.record else {
        return Ok(());
    };
    for slot in Slot::ALL {
        let state = record.slot(slot);
        if state.is_good() && record.floor > state.release.rollback_index {
            return fail("I5: the floor rules out a Good slot");
        }
        if state.is_good() && record.trust_floor > state.trust_epoch {
            return fail("I5: the trust floor rules out a Good slot");
        }
        if state.is_good() && !world.proven[slot as usize] {
            return fail("a slot that never passed its checks is Good");
        }
        if record.default == slot
            && matches!(state.status, Status::Pending { .. })
            && record.slot(slot.other()).is_good()
        {
            return fail("the default slot is on trial although the other one is Good");
        }
    }
    Ok(())
}

/// Checks what must hold for each step.
pub(crate) fn check_step(before: &World, after: &World) -> Result<(), String> {
    if before.copies.is_some_and(|copies| !copies.lost)
        && after.copies.is_some_and(|copies| copies.lost)
    {
        for slot in Slot::ALL {
            let on_trial = after
                .state(slot)
                .is_some_and(|state| matches!(state.status, Status::Pending { .. }));
            if before.state(slot).is_some_and(SlotState::is_good) && on_trial {
                return fail(
                    "a committed release is on trial again after the loss of one copy of the record",
                );
            }
        }
    }
    if let (Some(old), Some(new)) = (before.record, after.record)
        && (new.floor < old.floor || new.trust_floor < old.trust_floor)
    {
        return fail("I5: the floor fell");
    }
    let started = after
        .launches
        .iter()
        .zip(&before.launches)
        .position(|(after, before)| after > before);
    let launched = match (before.phase, after.phase) {
        (
            Phase::Loading { .. },
            Phase::Up {
                choice: Choice::Slot(slot),
                ..
            },
        ) => Some(slot),
        (Phase::Loading { .. }, _) => started.map(|slot| Slot::ALL[slot]),
        _ => None,
    };
    if let Some(slot) = launched {
        check_launch(before, after, slot)?;
    }
    if let Phase::Up {
        choice: Choice::Slot(booted),
        task: Task::Applying { .. },
    } = before.phase
    {
        if before.content[booted as usize] != after.content[booted as usize] {
            return fail("I4: the booted slot was written to");
        }
        let other = booted.other();
        let fallback =
            before.state(other).is_some_and(SlotState::is_good) && !before.proven[booted as usize];
        if fallback && before.content[other as usize] != after.content[other as usize] {
            return fail("I4: the only fallback of a trial was written to");
        }
    }
    if let Phase::Up {
        task: Task::Reconciling | Task::Idle,
        ..
    } = before.phase
        && matches!(after.phase, Phase::Up { .. })
        && foreign_entries(&before.vars) != foreign_entries(&after.vars)
    {
        return fail("foreign entries were changed");
    }
    Ok(())
}

fn check_launch(before: &World, after: &World, slot: Slot) -> Result<(), String> {
    let Some(state) = before.state(slot) else {
        return fail("I1: a slot was started without a record");
    };
    let Content::Whole { release, .. } = before.content[slot as usize] else {
        return fail("I2: an incomplete slot was started");
    };
    if state.release.manifest_sha256 != [release; 32] {
        return fail("I2: a release other than the one in the record was started");
    }
    if state.status == Status::Unbootable {
        return fail("I1: an Unbootable slot was started");
    }
    // The loss of a copy regains the one try that was counted in it.
    let regained = u8::from(before.copies.is_some_and(|copies| copies.lost));
    if !before.proven[slot as usize]
        && after.launches[slot as usize] > state.tries_granted + regained
    {
        return fail("I3: a release was started more often than it has tries");
    }
    Ok(())
}

/// Returns the foreign entries and their order.
fn foreign_entries(vars: &BootVars) -> (Vec<&Vec<u8>>, Vec<u16>) {
    let ours =
        |bytes: &Vec<u8>| LoadOption::parse(bytes).is_ok_and(|option| option.starts().is_some());
    let entries = vars.entries.values().filter(|bytes| !ours(bytes)).collect();
    let foreign = |number: &u16| vars.entries.get(number).is_some_and(|bytes| !ours(bytes));
    (
        entries,
        vars.order.iter().copied().filter(foreign).collect(),
    )
}

/// Returns whether there is a Good, complete and working release that may be started.
pub(crate) fn has_working_release(world: &World) -> bool {
    let Some(record) = world.record else {
        return false;
    };
    Slot::ALL.into_iter().any(|slot| {
        let state = record.slot(slot);
        let Content::Whole {
            release,
            behaviour: Behaviour::Works,
        } = world.content[slot as usize]
        else {
            return false;
        };
        let is_recorded = state.release.manifest_sha256 == [release; 32];
        let is_above_floor =
            state.release.rollback_index >= record.floor && state.trust_epoch >= record.trust_floor;
        is_recorded && is_above_floor && state.is_good() && state.is_bootable()
    })
}

/// Returns the machine at rest after a restart.
fn boot_again(world: &World, rules: &Rules) -> World {
    let mut again = world.with(|world| world.phase = Phase::Off);
    for _ in 0..20 {
        match again.next(rules) {
            Some(next) => again = next,
            None => break,
        }
    }
    again
}

/// Checks what must hold at rest: the entries are in line, and another boot changes nothing.
/// Returns whether a slot runs.
pub(crate) fn check_settled(world: &World, rules: &Rules) -> Result<bool, String> {
    let Phase::Up { choice, .. } = world.phase else {
        return Err("I6: at rest but not running".to_owned());
    };
    if let Some(record) = &world.record {
        if let Some(action) = next_action(record, &world.vars, &facts(), Some(choice)) {
            return Err(format!("I6: at rest but a change is due: {action}"));
        }
        if matches!(choice, Choice::Slot(slot) if slot != record.default) {
            return Err("I6: at rest but the running slot is not the default".to_owned());
        }
        if record.one_shot.is_some() {
            return Err("I6: at rest but a one-shot request remains".to_owned());
        }
    }
    if let Choice::Slot(slot) = choice {
        let mut again = boot_again(world, rules);
        if again.vars != world.vars {
            return Err("a plain boot wrote to NVRAM".to_owned());
        }
        let mut settled = world.clone();
        if world.copies.is_some_and(|copies| copies.lost) {
            // The copy was lost while the machine ran: the guard rules out once more what has no
            // tries left.
            settled = again;
            again = boot_again(&settled, rules);
        }
        // A plain boot spends from the budget and refills it, so the older copy may differ in that.
        again.older = settled.older;
        if again != settled {
            return Err(format!(
                "I7: a plain boot of slot {slot} changed the machine"
            ));
        }
    }
    Ok(matches!(choice, Choice::Slot(_)))
}
