//! Every state that can be reached, every step out of it, and what must hold in all of them.

use crate::world::{
    Behaviour, Content, Copies, Mutant, Phase, RELEASES, Rules, Task, World, facts,
};
use bootctl::entry::LoadOption;
use bootctl::reconcile::{BootVars, next_action};
use bootctl::transition::{self, TargetSlot};
use record::{Choice, Record, Slot, SlotState, Status};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What may happen to the machine, besides power cuts, which always may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// Releases that are offered.
    pub(crate) releases: &'static [u8],
    /// A person rolls back, marks slots bad, asks for single boots.
    pub(crate) person: bool,
    /// A release that worked begins to fail.
    pub(crate) wear: bool,
    /// Both copies of the record are lost, once.
    pub(crate) loss: bool,
    /// The newest copy of the record is lost, once.
    pub(crate) rot: bool,
    /// How often firmware loses, reorders, reuses, invents or refuses.
    pub(crate) misdeeds: u8,
}

/// What an exploration found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) violation: Option<String>,
    /// The shortest way to it.
    pub(crate) story: String,
}

type Key = (u64, u64);

fn key(world: &World) -> Key {
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, world).hash(&mut hasher);
        hasher.finish()
    };
    (hash(1), hash(2))
}

/// Where a state ends up when nothing more goes wrong: in a slot or not, or why it never settles.
type Rest = Result<bool, String>;

/// Explores all states, or up to the first violation.
pub(crate) fn explore(rules: &Rules, fate: Fate) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut rests: HashMap<Key, Rest> = HashMap::new();
    let mut start = World::installing();
    start.copies = fate.rot.then(Copies::default);
    seen.insert(key(&start));
    // All worlds in the order in which they were reached, each with the one before it.
    let mut worlds = vec![(start, 0)];
    while let Some((world, _)) = worlds.get(found.states).cloned() {
        let here = found.states;
        found.states += 1;
        let checked = check_state(&world).and_then(|()| check_rest(&world, rules, &mut rests));
        if let Err(violation) = checked {
            found.violation = Some(violation);
            found.story = story(&worlds, here);
            return found;
        }
        for next in world
            .next(rules)
            .into_iter()
            .chain(events(&world, rules, fate))
        {
            found.steps += 1;
            if let Err(violation) = check_step(&world, &next) {
                found.violation = Some(violation);
                found.story = story(&worlds, here) + &next.line();
                return found;
            }
            if seen.insert(key(&next)) {
                worlds.push((next, here));
            }
        }
    }
    found
}

/// How it came to this: one line a state, from the first.
fn story(worlds: &[(World, usize)], mut at: usize) -> String {
    let mut lines = Vec::new();
    while let Some((world, before)) = worlds.get(at) {
        lines.push(world.line());
        if at == 0 {
            break;
        }
        at = *before;
    }
    lines.into_iter().rev().collect()
}

fn events(world: &World, rules: &Rules, fate: Fate) -> Vec<World> {
    let mut next = Vec::new();
    next.extend(rot(world));
    if world.phase == Phase::Off {
        next.extend(wear_and_loss(world, fate));
        if world.misdeeds < fate.misdeeds {
            next.extend(hostilities(world));
        }
        return next;
    }
    // A power cut, anywhere: what is written is written, what was in memory is gone. A torn write
    // of a record copy leaves the record that counted before, which is the state before that step.
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
    // A system that has not committed yet may be told to update, too.
    if let (
        Phase::Up {
            choice,
            task: task @ (Task::Idle | Task::Booting),
        },
        Some(record),
    ) = (world.phase, world.record)
    {
        next.extend(updates(world, &record, choice, rules, fate));
        if fate.person && task == Task::Idle {
            next.extend(wishes(world, &record, choice));
        }
    }
    next
}

fn updates(
    world: &World,
    record: &Record,
    choice: Choice,
    rules: &Rules,
    fate: Fate,
) -> Vec<World> {
    let target = match (TargetSlot::choose(record, choice), choice) {
        (Ok(target), _) => target.slot(),
        (Err(_), Choice::Slot(slot)) if rules.has(Mutant::FallbackOverwritten) => slot.other(),
        _ => return Vec::new(),
    };
    let offered = fate
        .releases
        .iter()
        .copied()
        .filter(|release| RELEASES[usize::from(*release)].0 >= record.floor);
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

fn wishes(world: &World, record: &Record, choice: Choice) -> Vec<World> {
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

/// The newest copy of the record becomes unreadable, so that the older one counts. Not in the
/// middle of a commit, nor after a power cut there: that is two faults at once, and what is there
/// then is the trial as it was.
fn rot(world: &World) -> Option<World> {
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
        // What the older copy says was true when it was written.
        for slot in Slot::ALL {
            world.proven[slot as usize] |= older.slot(slot).is_good();
        }
        world.record = Some(older);
        world.copies = Some(Copies {
            lost: true,
            ..copies
        });
        // An update ends with its next write of the record: it is not the one that it was planned
        // on. Then the checks go on, if they have not passed yet.
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

fn wear_and_loss(world: &World, fate: Fate) -> Vec<World> {
    let mut next = Vec::new();
    for (place, content) in world.content.into_iter().enumerate() {
        if let Content::Whole {
            release,
            behaviour: Behaviour::Works,
        } = content
            && fate.wear
        {
            let worn = Content::Whole {
                release,
                behaviour: Behaviour::Fails,
            };
            next.push(world.with(|world| world.content[place] = worn));
        }
    }
    if fate.loss && !world.rebuilt && world.record.is_some() {
        next.push(world.with(|world| {
            world.record = None;
            world.rebuilt = true;
        }));
    }
    next
}

/// An entry that is not ours and starts nothing.
fn foreign() -> Vec<u8> {
    vec![1, 0, 0, 0, 4, 0, b'X', 0, 0, 0, 0x7f, 0xff, 4, 0]
}

fn hostilities(world: &World) -> Vec<World> {
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
    // The firmware takes a number of ours for an entry of its own, and puts it first.
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
    // It drops one entry and all mention of it.
    for number in vars.entries.keys() {
        let mut dropped = vars.clone();
        dropped.entries.remove(number);
        dropped.order.retain(|listed| listed != number);
        next.push(dropped);
    }
    // It forgets the order, or switches an entry off.
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
    // BootNext is taken by someone else, or by an entry of ours that was not meant.
    next.extend(vars.entries.keys().map(|number| BootVars {
        next: Some(*number),
        ..vars.clone()
    }));
    let mut worlds: Vec<World> = next
        .into_iter()
        .map(|vars| world.with(|world| world.vars = vars))
        .collect();
    worlds.push(world.with(|world| world.deaf = !world.deaf));
    for world in &mut worlds {
        world.misdeeds += 1;
    }
    worlds
}

fn fail(what: &str) -> Result<(), String> {
    Err(what.to_owned())
}

fn check_state(world: &World) -> Result<(), String> {
    let Some(record) = world.record else {
        return Ok(());
    };
    for slot in Slot::ALL {
        let state = record.slot(slot);
        if state.is_good() && record.floor > state.release.rollback_index {
            return fail("I5: the floor rules out a Good slot");
        }
        if state.is_good() && !world.proven[slot as usize] {
            return fail("a slot is Good that never passed its checks");
        }
        if record.default == slot
            && matches!(state.status, Status::Pending { .. })
            && record.slot(slot.other()).is_good()
        {
            return fail("the default slot is on trial, and the other one is Good");
        }
    }
    Ok(())
}

fn check_step(before: &World, after: &World) -> Result<(), String> {
    if before.copies.is_some_and(|copies| !copies.lost)
        && after.copies.is_some_and(|copies| copies.lost)
    {
        for slot in Slot::ALL {
            let on_trial = after
                .state(slot)
                .is_some_and(|state| matches!(state.status, Status::Pending { .. }));
            if before.state(slot).is_some_and(SlotState::is_good) && on_trial {
                return fail(
                    "a committed release is on trial again, since one copy of the record was lost",
                );
            }
        }
    }
    if let (Some(old), Some(new)) = (before.record, after.record)
        && new.floor < old.floor
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
        (Phase::Loading { .. }, _) => started.map(|place| Slot::ALL[place]),
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
        && foreigners(&before.vars) != foreigners(&after.vars)
    {
        return fail("foreign entries were touched");
    }
    Ok(())
}

fn check_launch(before: &World, after: &World, slot: Slot) -> Result<(), String> {
    let Some(state) = before.state(slot) else {
        return fail("I1: a slot was started without a record");
    };
    let Content::Whole { release, .. } = before.content[slot as usize] else {
        return fail("I2: a slot was started that is not whole");
    };
    if state.release.manifest_sha256 != [release; 32] {
        return fail("I2: a release was started that is not the one in the record");
    }
    if state.status == Status::Unbootable {
        return fail("I1: an Unbootable slot was started");
    }
    // A copy that is lost gives back the try that was counted in it, and no more.
    let given_back = u8::from(before.copies.is_some_and(|copies| copies.lost));
    if !before.proven[slot as usize]
        && after.launches[slot as usize] > state.tries_granted + given_back
    {
        return fail("I3: a release was started more often than it has tries");
    }
    Ok(())
}

/// Entries that are not ours, and their order.
fn foreigners(vars: &BootVars) -> (Vec<&Vec<u8>>, Vec<u16>) {
    let ours =
        |bytes: &Vec<u8>| LoadOption::parse(bytes).is_ok_and(|option| option.starts().is_some());
    let entries = vars.entries.values().filter(|bytes| !ours(bytes)).collect();
    let foreign = |number: &u16| vars.entries.get(number).is_some_and(|bytes| !ours(bytes));
    (
        entries,
        vars.order.iter().copied().filter(foreign).collect(),
    )
}

/// Whether a Good, whole, working release is there that nothing rules out.
fn can_be_saved(world: &World) -> bool {
    let Some(record) = world.record else {
        return false;
    };
    Slot::ALL.into_iter().any(|slot| {
        let state = record.slot(slot);
        let works = matches!(world.content[slot as usize], Content::Whole { release, behaviour: Behaviour::Works }
            if state.release.manifest_sha256 == [release; 32]);
        state.is_good() && state.is_bootable() && works && state.release.rollback_index >= record.floor
    })
}

fn check_rest(world: &World, rules: &Rules, rests: &mut HashMap<Key, Rest>) -> Result<(), String> {
    let calm = world.with(|world| world.deaf = false);
    let in_slot = rest_of(&calm, rules, rests)?;
    if can_be_saved(world) && !in_slot {
        return fail("a working Good slot is there, and the machine ends in recovery");
    }
    Ok(())
}

/// Where a state ends up when nothing more goes wrong.
fn rest_of(world: &World, rules: &Rules, rests: &mut HashMap<Key, Rest>) -> Rest {
    let mut path = Vec::new();
    let mut on_path = HashSet::new();
    let mut world = world.clone();
    let rest = loop {
        let here = key(&world);
        if let Some(known) = rests.get(&here) {
            break known.clone();
        }
        if !on_path.insert(here) {
            break Err("I6: the machine never settles".to_owned());
        }
        path.push(here);
        match world.next(rules) {
            Some(next) => world = next,
            None => break check_settled(&world, rules),
        }
    };
    for key in path {
        rests.insert(key, rest.clone());
    }
    rest
}

/// The machine at rest again after a restart.
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

/// What holds when nothing is left to do: the entries are as derived, and another boot changes
/// nothing.
fn check_settled(world: &World, rules: &Rules) -> Rest {
    let Phase::Up { choice, .. } = world.phase else {
        return Err("I6: at rest, and not running".to_owned());
    };
    if let Some(record) = &world.record {
        if let Some(action) = next_action(record, &world.vars, &facts(), Some(choice)) {
            return Err(format!("I6: at rest, and due: {action}"));
        }
        if matches!(choice, Choice::Slot(slot) if slot != record.default) {
            return Err("I6: at rest, and what runs is not the default".to_owned());
        }
        if record.one_shot.is_some() {
            return Err("I6: at rest, and a single boot is still asked for".to_owned());
        }
    }
    if let Choice::Slot(slot) = choice {
        let mut again = boot_again(world, rules);
        if again.vars != world.vars {
            return Err("a plain boot wrote to NVRAM".to_owned());
        }
        let mut settled = world.clone();
        if world.copies.is_some_and(|copies| copies.lost) {
            // Lost while the machine ran: what the guard had ruled out for want of tries, it rules
            // out once more.
            settled = again;
            again = boot_again(&settled, rules);
        }
        // A plain boot spends from the budget and refills it: the copy before the last one may
        // differ in that.
        again.older = settled.older;
        if again != settled {
            return Err(format!(
                "I7: a plain boot of slot {slot} changed the machine"
            ));
        }
    }
    Ok(matches!(choice, Choice::Slot(_)))
}
