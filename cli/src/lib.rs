//! What the five programs share at the keyboard.
//!
//! | module | holds |
//! | --- | --- |
//! | [`clock`] | the time of day, as an argument for everything else |
//! | [`exit_status`] | [`ExitStatus`]: the one table of exit codes |
//! | [`generate`] | the verb `generate`: man pages and shell completions |
//! | [`output`] | standard output and standard error |
//! | [`quantity`] | sizes that people write, and sizes and durations that people read |

pub mod clock;
pub mod exit_status;
pub mod generate;
pub mod output;
pub mod quantity;

pub use exit_status::ExitStatus;
