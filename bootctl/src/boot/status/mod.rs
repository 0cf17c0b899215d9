//! The state of a machine.
//!
//! | module | holds |
//! | --- | --- |
//! | `json` | [`StatusJson`] and [`BootFailureJson`]: the state for programs |
//! | `sentence` | the state in one sentence |
//! | `state` | [`MachineStatus`]: what is known about a machine |
//! | `table` | the slots as a table |
//! | `words` | the words of slots and reasons, the same everywhere |

mod json;
mod sentence;
mod state;
mod table;
mod words;

pub use json::{BootFailureJson, SCHEMA, StatusJson};
pub use state::MachineStatus;
pub use words::{choice_word, why_word};
