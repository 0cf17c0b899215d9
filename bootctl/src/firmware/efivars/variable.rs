//! The trait that every store of EFI variables implements.

use record::{EFI_GLOBAL, Guid};

/// Attributes of a variable that survives a reset and is visible at run time:
/// `NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS` (UEFI 2.10, 8.2).
pub const PERSISTENT: u32 = 7;

/// Name and vendor of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarName {
    /// Name, such as `BootOrder`.
    pub name: String,
    /// Vendor GUID.
    pub vendor: Guid,
}

impl VarName {
    /// Returns the name of a variable of the UEFI specification. *Pure.*
    #[must_use]
    pub fn global(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            vendor: EFI_GLOBAL,
        }
    }
}

/// Attributes and data of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Attribute bits.
    pub attributes: u32,
    /// Data, without the attributes.
    pub data: Vec<u8>,
}

/// Why a variable could not be read or written. An absent variable is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VarError {
    /// The machine has no EFI variables: a machine without UEFI, a container, an image build.
    #[error("this machine has no EFI variables")]
    Unsupported,
    /// The variable store is full.
    #[error("the firmware's variable store is full")]
    Full,
    /// The variables cannot be written.
    #[error("EFI variables are read-only")]
    ReadOnly,
    /// The firmware reported an I/O error.
    #[error("the firmware reported an input/output error")]
    Io,
    /// The firmware refused the value.
    #[error("the firmware refused the value")]
    Refused,
}

/// The variables of a machine. One `set` is one `SetVariable`, which is atomic: after a power cut
/// the variable has the old value or the new one.
pub trait EfiVars {
    /// Returns the variable, or `None` if it is absent. *Reads.*
    ///
    /// # Errors
    /// [`VarError`]. A failed read never counts as an absent variable.
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError>;

    /// Returns the names of all variables. *Reads.*
    ///
    /// # Errors
    /// [`VarError`].
    fn names(&self) -> Result<Vec<VarName>, VarError>;

    /// Writes a variable. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`VarError`].
    ///
    /// # Power loss
    /// Leaves the old value or the new one.
    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError>;

    /// Removes a variable; removing an absent one is not an error. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`VarError`].
    ///
    /// # Power loss
    /// Leaves the variable or removes it.
    fn delete(&self, name: &VarName) -> Result<(), VarError>;
}
