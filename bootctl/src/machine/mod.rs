//! A machine: its disk, its EFI variables, and what the guard reported about this boot.
//!
//! | module | holds |
//! | --- | --- |
//! | `change` | commit, rollback and the other operations, and [`Change`], their result |
//! | `inspect` | [`Machine::status`]: all that can be known about the machine |
//! | `open` | [`Machine`] itself, and how it is opened |

mod change;
mod inspect;
mod open;

pub use change::{Change, UNCHECKED};
pub use open::{Machine, MachineError, handoff};
