//! Explores all states that can be reached, and each step out of them.

use crate::checks::{check_settled, check_state, check_step, has_working_release};
use crate::events::{Scenario, events};
use crate::mutants::Rules;
use crate::world::{Copies, World};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Result of an exploration.
#[derive(Debug, Default)]
pub(crate) struct Exploration {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) violation: Option<String>,
    /// The shortest path to it, one line for each state.
    pub(crate) path: String,
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

/// The end of a state without further events: whether a slot runs, or why it is not at rest.
type Rest = Result<bool, String>;

/// Explores all states, or stops at the first violation.
pub(crate) fn explore(rules: &Rules, scenario: Scenario) -> Exploration {
    let mut found = Exploration::default();
    let mut seen = HashSet::new();
    let mut rests: HashMap<Key, Rest> = HashMap::new();
    let mut start = World::installing();
    start.copies = scenario.copy_lost.then(Copies::default);
    seen.insert(key(&start));
    // All states in the order in which they were reached, each with the index of the one before it.
    let mut worlds = vec![(start, 0)];
    while let Some((world, _)) = worlds.get(found.states).cloned() {
        let here = found.states;
        found.states += 1;
        let checked = check_state(&world).and_then(|()| check_rest(&world, rules, &mut rests));
        if let Err(violation) = checked {
            found.violation = Some(violation);
            found.path = path(&worlds, here);
            return found;
        }
        for next in world
            .next(rules)
            .into_iter()
            .chain(events(&world, rules, scenario))
        {
            found.steps += 1;
            if let Err(violation) = check_step(&world, &next) {
                found.violation = Some(violation);
                found.path = path(&worlds, here) + &next.line();
                return found;
            }
            if seen.insert(key(&next)) {
                worlds.push((next, here));
            }
        }
    }
    found
}

/// Returns the path to a state, one line for each state, from the first one on.
fn path(worlds: &[(World, usize)], mut at: usize) -> String {
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

fn check_rest(world: &World, rules: &Rules, rests: &mut HashMap<Key, Rest>) -> Result<(), String> {
    let calm = world.with(|world| world.refuses_writes = false);
    let in_slot = rest_of(&calm, rules, rests)?;
    if has_working_release(world) && !in_slot {
        let words = "there is a working Good slot, but the machine ends in recovery";
        return Err(words.to_owned());
    }
    Ok(())
}

/// Returns the end of a state without further events.
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
