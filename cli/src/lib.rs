//! What the five programs share at the keyboard.
//!
//! | module | holds |
//! | --- | --- |
//! | [`clock`] | the time of day, as an argument for everything else |
//! | [`exit_status`] | [`ExitStatus`]: the one table of exit codes |
//! | [`generate`] | the verb `generate`: man pages and shell completions |
//! | [`input`] | text files of any editor, and outputs that must not be inputs |
//! | [`new_file`] | output files that get their name when they are complete |
//! | [`output`] | standard output and standard error |
//! | [`quantity`] | sizes that people write, and sizes and durations that people read |

pub mod clock;
pub mod exit_status;
pub mod generate;
pub mod input;
pub mod new_file;
pub mod output;
pub mod quantity;

pub use exit_status::ExitStatus;
