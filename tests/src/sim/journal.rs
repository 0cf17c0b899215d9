//! What was done to a machine, in order: the one list from which every power cut is derived.

use super::state::Witness;
use bootctl::efivars::{VarName, Variable};
use record::{Choice, Slot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One thing that happened to the disk, the variables, or around them.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes were written, which a flush makes durable.
    Write {
        /// Where.
        at: u64,
        /// What.
        data: Arc<[u8]>,
    },
    /// Everything written so far became durable.
    Flush,
    /// A variable was set or removed: atomic and durable.
    Var(VarName, Option<Variable>),
    /// Something that no disk remembers.
    Seen(Seen),
}

/// What an onlooker remembers, whatever the machine forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The guard started this.
    Launched(Choice),
    /// The release in the slot came up and passed its checks.
    Proven(Slot),
    /// The stick was pulled out.
    StickPulled,
}

/// The list.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    ops: Vec<Op>,
    witness: Witness,
    sites: Option<Vec<String>>,
}

impl Journal {
    /// An empty list, of a machine of which this was seen before.
    #[must_use]
    pub fn after(witness: Witness) -> Self {
        let journal = Self::default();
        journal.lock().witness = witness;
        journal
    }

    /// From now on also notes where in the program each write comes from.
    pub fn note_sites(&self) {
        self.lock().sites = Some(Vec::new());
    }

    /// What was seen until now.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.lock().witness
    }

    /// Appends.
    pub fn push(&self, op: Op) {
        let mut entries = self.lock();
        if let (Some(sites), Op::Write { .. } | Op::Var(..)) = (&mut entries.sites, &op) {
            sites.push(std::backtrace::Backtrace::force_capture().to_string());
        }
        match &op {
            Op::Write { at, data } => entries.witness.see_write(*at, data),
            Op::Seen(seen) => entries.witness.see(*seen),
            Op::Flush | Op::Var(..) => {}
        }
        entries.ops.push(op);
    }

    /// Takes everything out.
    #[must_use]
    pub fn take(&self) -> Vec<Op> {
        std::mem::take(&mut self.lock().ops)
    }

    /// The backtraces of all writes since the last call.
    #[must_use]
    pub fn take_sites(&self) -> Vec<String> {
        self.lock()
            .sites
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
