//! A machine without EFI variables.

use crate::firmware::efivars::variable::{EfiVars, VarError, VarName, Variable};

/// A machine without EFI variables, such as a disk image without a dump of them.
///
/// Every call returns [`VarError::Unsupported`].
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVars;

impl EfiVars for NoVars {
    fn get(&self, _: &VarName) -> Result<Option<Variable>, VarError> {
        Err(VarError::Unsupported)
    }

    fn names(&self) -> Result<Vec<VarName>, VarError> {
        Err(VarError::Unsupported)
    }

    fn set(&self, _: &VarName, _: &Variable) -> Result<(), VarError> {
        Err(VarError::Unsupported)
    }

    fn delete(&self, _: &VarName) -> Result<(), VarError> {
        Err(VarError::Unsupported)
    }
}
