//! UEFI variables that log their changes, in a store that runs full on command.

use crate::sim::hardware::operation::{Operation, OperationLog};
use crate::sim::hardware::state::Variables;
use bootctl::efivars::{EfiVars, MemVars, VarError, VarName, Variable};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Variables of a simulated machine. Clones are handles on the same ones.
#[derive(Clone)]
pub struct SimVariables {
    memory: Arc<MemVars>,
    operation_log: OperationLog,
    /// Number of writes that still succeed.
    room: Arc<AtomicUsize>,
}

impl SimVariables {
    /// Returns these variables, which log to `operation_log`.
    ///
    /// # Errors
    /// Never: memory implements the same trait as a real store.
    pub fn new(vars: &Variables, operation_log: OperationLog) -> Result<Self, VarError> {
        let memory = MemVars::new();
        vars.iter()
            .try_for_each(|(name, value)| memory.set(name, value))?;
        Ok(Self {
            memory: Arc::new(memory),
            operation_log,
            room: Arc::new(AtomicUsize::new(usize::MAX)),
        })
    }

    /// Makes the store full after so many writes.
    pub fn fill_after(&self, writes: usize) {
        self.room.store(writes, Ordering::Relaxed);
    }

    /// Returns all variables.
    #[must_use]
    pub fn all(&self) -> Variables {
        self.memory.all()
    }

    /// Removes and returns a variable, as firmware does with `BootNext`.
    ///
    /// # Errors
    /// As [`SimVariables::new`].
    pub fn take(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        let found = self.memory.get(name)?;
        if found.is_some() {
            self.memory.delete(name)?;
            self.operation_log
                .push(Operation::Variable(name.clone(), None));
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

impl EfiVars for SimVariables {
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        self.memory.get(name)
    }

    fn names(&self) -> Result<Vec<VarName>, VarError> {
        self.memory.names()
    }

    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError> {
        self.write()?;
        self.memory.set(name, value)?;
        self.operation_log
            .push(Operation::Variable(name.clone(), Some(value.clone())));
        Ok(())
    }

    fn delete(&self, name: &VarName) -> Result<(), VarError> {
        self.write()?;
        self.memory.delete(name)?;
        self.operation_log
            .push(Operation::Variable(name.clone(), None));
        Ok(())
    }
}
