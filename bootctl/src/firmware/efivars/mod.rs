//! The EFI variable seam.
//!
//! | module | holds |
//! | --- | --- |
//! | `efivarfs` | [`Efivarfs`]: the variables in efivarfs, or in a directory in its format |
//! | `memory` | `MemVars`: variables in memory, for tests (feature `simulation`) |
//! | `no_vars` | [`NoVars`]: a machine without EFI variables |
//! | `variable` | [`EfiVars`], the trait, and its values |

mod efivarfs;
#[cfg(any(test, feature = "simulation"))]
mod memory;
mod no_vars;
mod variable;

pub use efivarfs::{EFIVARS_DIR, Efivarfs};
#[cfg(any(test, feature = "simulation"))]
pub use memory::MemVars;
pub use no_vars::NoVars;
pub use record::{EFI_GLOBAL, LOADER_INTERFACE};
pub use variable::{EfiVars, PERSISTENT, VarError, VarName, Variable};
