//! Variables that keep a list of what was done to them, and a store that is full on command.

use super::journal::{Journal, Op};
use super::state::Vars;
use bootctl::efivars::{EfiVars, MemVars, VarError, VarName, Variable};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Variables of a simulated machine. Clones are handles on the same ones.
#[derive(Clone)]
pub struct SimVars {
    memory: Arc<MemVars>,
    journal: Journal,
    /// Writes that still succeed.
    room: Arc<AtomicUsize>,
}

impl SimVars {
    /// These variables, whose changes go to `journal`.
    ///
    /// # Errors
    /// Never, save that memory is a store like any other.
    pub fn new(vars: &Vars, journal: Journal) -> Result<Self, VarError> {
        let memory = MemVars::new();
        vars.iter()
            .try_for_each(|(name, value)| memory.set(name, value))?;
        Ok(Self {
            memory: Arc::new(memory),
            journal,
            room: Arc::new(AtomicUsize::new(usize::MAX)),
        })
    }

    /// From now on so many writes succeed, and then the store is full.
    pub fn fill_after(&self, writes: usize) {
        self.room.store(writes, Ordering::Relaxed);
    }

    /// All variables, as firmware sees them.
    #[must_use]
    pub fn all(&self) -> Vars {
        self.memory.all()
    }

    /// What firmware itself removes.
    ///
    /// # Errors
    /// As [`SimVars::new`].
    pub fn take(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        let found = self.memory.get(name)?;
        if found.is_some() {
            self.memory.delete(name)?;
            self.journal.push(Op::Var(name.clone(), None));
        }
        Ok(found)
    }

    fn write(&self) -> Result<(), VarError> {
        let left = self.room.load(Ordering::Relaxed);
        if left == 0 {
            return Err(VarError::Full);
        }
        self.room.store(
            left.saturating_sub(usize::from(left != usize::MAX)),
            Ordering::Relaxed,
        );
        Ok(())
    }
}

impl EfiVars for SimVars {
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        self.memory.get(name)
    }

    fn names(&self) -> Result<Vec<VarName>, VarError> {
        self.memory.names()
    }

    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError> {
        self.write()?;
        self.memory.set(name, value)?;
        self.journal
            .push(Op::Var(name.clone(), Some(value.clone())));
        Ok(())
    }

    fn delete(&self, name: &VarName) -> Result<(), VarError> {
        self.write()?;
        self.memory.delete(name)?;
        self.journal.push(Op::Var(name.clone(), None));
        Ok(())
    }
}
