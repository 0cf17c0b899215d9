//! The trait that every store of EFI variables implements.

use record::{EFI_GLOBAL, Guid};

/// Attributes of a variable that survives a reset and is seen at run time:
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
    /// A variable of the UEFI specification.
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

/// Why a variable could not be read or written. That it is absent is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarError {
    /// The machine has no EFI variables: no UEFI boot, a container, an image build.
    #[error("this machine has no EFI variables")]
    Unsupported,
    /// The store is full.
    #[error("the firmware's variable store is full")]
    Full,
    /// The store may not be written.
    #[error("EFI variables are read-only")]
    ReadOnly,
    /// The firmware gave an error.
    #[error("the firmware gave an input/output error")]
    Io,
    /// The firmware refused the value.
    #[error("the firmware refused the value")]
    Refused,
}

/// The variables of a machine. One `set` is one `SetVariable`, atomic in effect: after a power cut
/// a variable has the old value or the new one.
pub trait EfiVars {
    /// The variable, or `None` if it is absent.
    ///
    /// # Errors
    /// A failed read is never taken for an absent variable.
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError>;

    /// All variables' names.
    ///
    /// # Errors
    /// [`VarError`].
    fn names(&self) -> Result<Vec<VarName>, VarError>;

    /// Writes a variable whole, durable on return.
    ///
    /// # Errors
    /// [`VarError`].
    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError>;

    /// Removes a variable; removing an absent one is no error.
    ///
    /// # Errors
    /// [`VarError`].
    fn delete(&self, name: &VarName) -> Result<(), VarError>;
}
