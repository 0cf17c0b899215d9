//! Variables in memory that count writes and can be made to fail.

use super::variable::{EfiVars, VarError, VarName, Variable};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Variables in memory.
#[derive(Debug, Default)]
pub struct MemVars {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    variables: BTreeMap<VarName, Variable>,
    writes: u32,
    fail_reads: Option<VarError>,
    fail_writes: Option<VarError>,
}

impl MemVars {
    /// Returns a store without variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how often `set` and `delete` succeeded.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.lock().writes
    }

    /// Makes every read fail with `error` from now on, or succeed again with `None`.
    pub fn fail_reads(&self, error: Option<VarError>) {
        self.lock().fail_reads = error;
    }

    /// Makes every write fail with `error` from now on, or succeed again with `None`.
    pub fn fail_writes(&self, error: Option<VarError>) {
        self.lock().fail_writes = error;
    }

    /// Returns all variables.
    #[must_use]
    pub fn all(&self) -> BTreeMap<VarName, Variable> {
        self.lock().variables.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> Result<MutexGuard<'_, Inner>, VarError> {
        let mut inner = self.lock();
        if let Some(error) = inner.fail_writes {
            return Err(error);
        }
        inner.writes += 1;
        Ok(inner)
    }
}

impl EfiVars for MemVars {
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        let inner = self.lock();
        inner
            .fail_reads
            .map_or_else(|| Ok(inner.variables.get(name).cloned()), Err)
    }

    fn names(&self) -> Result<Vec<VarName>, VarError> {
        let inner = self.lock();
        inner
            .fail_reads
            .map_or_else(|| Ok(inner.variables.keys().cloned().collect()), Err)
    }

    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError> {
        self.writable()?
            .variables
            .insert(name.clone(), value.clone());
        Ok(())
    }

    fn delete(&self, name: &VarName) -> Result<(), VarError> {
        self.writable()?.variables.remove(name);
        Ok(())
    }
}
