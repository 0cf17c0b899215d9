//! What survives a power cut, and what an onlooker remembers of what happened before it.

use super::image::Image;
use super::journal::{Op, Seen};
use super::place::Place;
use bootctl::efivars::{VarName, Variable};
use record::{Choice, Slot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables by name.
pub type Vars = BTreeMap<VarName, Variable>;

/// What an onlooker remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    /// How often the release in each slot was started since its header was last erased.
    pub launches: [u8; 2],
    /// Whether it came up and passed its checks since then.
    pub proven: [bool; 2],
    /// Whether recovery was started.
    pub recovery: bool,
    /// The slot whose release has begun to fail after it worked.
    pub worn: Option<Slot>,
    /// Whether the installation stick is plugged in.
    pub stick: bool,
    /// Whether another system is on the disk.
    pub other: bool,
}

impl Witness {
    /// Remembers what was seen.
    pub const fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Launched(Choice::Slot(slot)) => {
                self.launches[slot as usize] = self.launches[slot as usize].saturating_add(1);
            }
            Seen::Launched(Choice::Recovery) => self.recovery = true,
            Seen::Proven(slot) => self.proven[slot as usize] = true,
            Seen::StickPulled => self.stick = false,
        }
    }

    /// A new release begins in a slot when zeroes are written over the header of its boot image.
    pub fn see_write(&mut self, at: u64, data: &[u8]) {
        for slot in Slot::ALL {
            if at == Place::Boot(slot).start() && data.iter().take(512).all(|byte| *byte == 0) {
                self.launches[slot as usize] = 0;
                self.proven[slot as usize] = false;
                if matches!(
                    (self.worn, slot),
                    (Some(Slot::A), Slot::A) | (Some(Slot::B), Slot::B)
                ) {
                    self.worn = None;
                }
            }
        }
    }
}

/// A machine that is switched off.
#[derive(Clone, Debug)]
pub struct State {
    /// Its disk.
    pub image: Image,
    /// Its variables.
    pub vars: Arc<Vars>,
    /// What was seen.
    pub witness: Witness,
}

impl State {
    /// The state after `op`.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { at, data } => self.write(*at, data),
            Op::Flush => {}
            Op::Var(name, value) => {
                let vars = Arc::make_mut(&mut self.vars);
                match value {
                    Some(value) => vars.insert(name.clone(), value.clone()),
                    None => vars.remove(name),
                };
            }
            Op::Seen(seen) => self.witness.see(*seen),
        }
    }

    /// The state after these bytes reached the medium.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        self.image.write(at, data);
        self.witness.see_write(at, data);
    }

    /// A number that differs for machines that differ in anything.
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        let vars: Vec<_> = self
            .vars
            .iter()
            .map(|(name, value)| (name, value.attributes, &value.data))
            .collect();
        (self.image.hash(), hash_of(&(vars, self.witness)))
    }
}

/// A hash by the standard library, the same in every run.
pub(crate) fn hash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
