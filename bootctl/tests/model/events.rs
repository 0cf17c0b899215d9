//! Events that may happen to the machine: power cuts, updates, requests of an operator, faults.

use crate::mutants::{Mutant, Rules};
use crate::releases::{Behaviour, Content, model_release};
use crate::world::{Copies, Phase, Task, World};
use bootctl::reconcile::BootVars;
use bootctl::transition::{self, TargetSlot};
use record::{Choice, Record, Slot};

/// The events that may happen to the machine. Power cuts may happen in all scenarios.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// The releases that are offered as updates.
    pub(crate) releases: &'static [u8],
    /// An operator rolls back, marks slots bad and requests single boots.
    pub(crate) operator: bool,
    /// A release that worked begins to fail.
    pub(crate) release_wears_out: bool,
    /// Both copies of the record are lost once.
    pub(crate) record_lost: bool,
    /// The newer copy of the record is lost once.
    pub(crate) copy_lost: bool,
    /// How often the firmware loses, reorders, reuses, invents or refuses variables.
    pub(crate) firmware_faults: u8,
}

/// Returns all states that one event leads to.
pub(crate) fn events(world: &World, rules: &Rules, scenario: Scenario) -> Vec<World> {
    let mut next = Vec::new();
    next.extend(copy_lost(world));
    if world.phase == Phase::Off {
        next.extend(wear_and_loss(world, scenario));
        if world.firmware_faults < scenario.firmware_faults {
            next.extend(firmware_faults(world));
        }
        return next;
    }
    // A power cut at any step: what was written stays, what was in memory is lost. A torn write of
    // a copy leaves the current record, which is the state before that step.
    next.push(world.with(|world| {
        if let (
            Phase::Up {
                task: Task::Settling,
                ..
            },
            Some(copies),
        ) = (world.phase, &mut world.copies)
        {
            copies.cut = true;
        }
        world.phase = Phase::Off;
    }));
    // A system that has not committed yet may apply an update, too.
    if let (
        Phase::Up {
            choice,
            task: task @ (Task::Idle | Task::Booting),
        },
        Some(record),
    ) = (world.phase, world.record)
    {
        next.extend(updates(world, &record, choice, rules, scenario));
        if scenario.operator && task == Task::Idle {
            next.extend(requests(world, &record, choice));
        }
    }
    next
}

fn updates(
    world: &World,
    record: &Record,
    choice: Choice,
    rules: &Rules,
    scenario: Scenario,
) -> Vec<World> {
    let target = match (TargetSlot::choose(record, choice), choice) {
        (Ok(target), _) => target.slot(),
        (Err(_), Choice::Slot(slot)) if rules.has(Mutant::FallbackOverwritten) => slot.other(),
        _ => return Vec::new(),
    };
    let offered = scenario
        .releases
        .iter()
        .copied()
        .filter(|release| model_release(*release).rollback_index >= record.floor);
    let apply = |release| {
        world.with(|world| {
            world.phase = Phase::Up {
                choice,
                task: Task::Applying {
                    release,
                    target,
                    done: 0,
                },
            };
        })
    };
    offered.map(apply).collect()
}

fn requests(world: &World, record: &Record, choice: Choice) -> Vec<World> {
    let mut wanted = vec![transition::rollback(record, choice)];
    wanted.extend(Slot::ALL.map(|slot| transition::mark_bad(record, slot)));
    let choices = [
        Choice::Slot(Slot::A),
        Choice::Slot(Slot::B),
        Choice::Recovery,
    ];
    wanted.extend(choices.map(|choice| transition::boot_once(record, choice)));
    let done = |record| {
        world.with(|world| {
            world.put(record);
            world.phase = Phase::Up {
                choice,
                task: Task::Reconciling,
            };
        })
    };
    wanted.into_iter().flatten().map(done).collect()
}

/// The newer copy of the record becomes unreadable, so that the older one is current. This does not
/// happen within a commit, nor after a power cut there: that would be two faults, after which the
/// release is on trial as before.
fn copy_lost(world: &World) -> Option<World> {
    let copies = world.copies.filter(|copies| !copies.lost && !copies.cut)?;
    let older = world.older?;
    if matches!(
        world.phase,
        Phase::Up {
            task: Task::Settling,
            ..
        }
    ) {
        return None;
    }
    Some(world.with(|world| {
        // The older copy was true when it was written.
        for slot in Slot::ALL {
            world.proven[slot as usize] |= older.slot(slot).is_good();
        }
        world.record = Some(older);
        world.copies = Some(Copies {
            lost: true,
            ..copies
        });
        // The next write of an update fails, because the record is not the one that the update is
        // based on. The checks then continue, if they have not passed yet.
        if let Phase::Up {
            choice,
            task: Task::Applying { .. },
        } = world.phase
        {
            world.phase = Phase::Up {
                choice,
                task: Task::Booting,
            };
        }
    }))
}

fn wear_and_loss(world: &World, scenario: Scenario) -> Vec<World> {
    let mut next = Vec::new();
    for (slot, content) in world.content.into_iter().enumerate() {
        if let Content::Whole {
            release,
            behaviour: Behaviour::Works,
        } = content
            && scenario.release_wears_out
        {
            let worn = Content::Whole {
                release,
                behaviour: Behaviour::Fails,
            };
            next.push(world.with(|world| world.content[slot] = worn));
        }
    }
    if scenario.record_lost && !world.rebuilt && world.record.is_some() {
        next.push(world.with(|world| {
            world.record = None;
            world.rebuilt = true;
        }));
    }
    next
}

/// Returns an entry of another system, which starts nothing.
fn foreign() -> Vec<u8> {
    vec![1, 0, 0, 0, 4, 0, b'X', 0, 0, 0, 0x7f, 0xff, 4, 0]
}

fn firmware_faults(world: &World) -> Vec<World> {
    let vars = &world.vars;
    let mut next = vec![
        BootVars::default(),
        BootVars {
            next: None,
            ..vars.clone()
        },
    ];
    let mut reversed = vars.clone();
    reversed.order.reverse();
    next.push(reversed);
    // The firmware reuses a number of ours for an entry of its own, and puts it first.
    if let Some(number) = vars.order.first().copied() {
        let mut reused = vars.clone();
        reused.entries.insert(number, foreign());
        next.push(reused);
    }
    if vars.entries.values().all(|bytes| *bytes != foreign()) {
        let mut invented = vars.clone();
        invented.entries.insert(0x80, foreign());
        invented.order.insert(0, 0x80);
        next.push(invented);
    }
    // It drops one entry, also from the order.
    for number in vars.entries.keys() {
        let mut dropped = vars.clone();
        dropped.entries.remove(number);
        dropped.order.retain(|listed| listed != number);
        next.push(dropped);
    }
    // It drops the order, or deactivates an entry.
    next.push(BootVars {
        order: Vec::new(),
        ..vars.clone()
    });
    let mut off = vars.clone();
    if let Some(attributes) = off
        .entries
        .values_mut()
        .next()
        .and_then(|bytes| bytes.first_mut())
    {
        *attributes = 0;
    }
    next.push(off);
    // Another program sets BootNext, to a foreign entry or to another one of ours.
    next.extend(vars.entries.keys().map(|number| BootVars {
        next: Some(*number),
        ..vars.clone()
    }));
    let mut worlds: Vec<World> = next
        .into_iter()
        .map(|vars| world.with(|world| world.vars = vars))
        .collect();
    worlds.push(world.with(|world| world.refuses_writes = !world.refuses_writes));
    for world in &mut worlds {
        world.firmware_faults += 1;
    }
    worlds
}
