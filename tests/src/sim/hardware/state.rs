//! A machine that is switched off.

use crate::sim::hardware::history::History;
use crate::sim::hardware::image::Image;
use crate::sim::hardware::operation::Operation;
use bootctl::efivars::{VarName, Variable};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables by name.
pub type Variables = BTreeMap<VarName, Variable>;

/// A machine that is switched off.
#[derive(Clone, Debug)]
pub struct MachineState {
    /// Its disk.
    pub image: Image,
    /// Its variables.
    pub vars: Arc<Variables>,
    /// Its history.
    pub history: History,
}

impl MachineState {
    /// Applies an operation.
    pub fn apply(&mut self, op: &Operation) {
        match op {
            Operation::Write { at, data } => self.write(*at, data),
            Operation::Flush => {}
            Operation::Variable(name, value) => {
                let vars = Arc::make_mut(&mut self.vars);
                match value {
                    Some(value) => vars.insert(name.clone(), value.clone()),
                    None => vars.remove(name),
                };
            }
            Operation::Event(event) => self.history.record_event(*event),
        }
    }

    /// Writes bytes to the disk.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        self.image.write(at, data);
        self.history.record_write(at, data);
    }

    /// Returns a key that differs for different states. *Pure.*
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        let vars: Vec<_> = self
            .vars
            .iter()
            .map(|(name, value)| (name, value.attributes, &value.data))
            .collect();
        (self.image.hash(), hash_of(&(vars, self.history)))
    }
}

/// Returns a hash that is the same in every run. *Pure.*
pub(crate) fn hash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
