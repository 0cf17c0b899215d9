//! The EFI variable seam.
//!
//! | module | holds |
//! | --- | --- |
//! | `efivarfs` | [`Efivarfs`]: the variables in efivarfs, or in a directory in its format |
//! | `memory` | [`MemVars`]: variables in memory |
//! | `no_vars` | [`NoVars`]: a machine without EFI variables |
//! | `variable` | [`EfiVars`], the trait, and its values |

mod efivarfs;
mod memory;
mod no_vars;
mod variable;

pub use efivarfs::{EFIVARS_DIR, Efivarfs};
pub use memory::MemVars;
pub use no_vars::NoVars;
pub use record::{EFI_GLOBAL, LOADER_INTERFACE};
pub use variable::{EfiVars, PERSISTENT, VarError, VarName, Variable};
