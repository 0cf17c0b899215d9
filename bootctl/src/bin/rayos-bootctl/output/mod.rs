//! Text and JSON on standard output, warnings on standard error.
//!
//! | module | holds |
//! | --- | --- |
//! | `entries` | boot entries |
//! | `events` | events of the event ring |

pub(crate) mod entries;
pub(crate) mod events;

use serde::Serialize;
use std::fmt::Display;
use std::io;

/// Name of the program, before its messages.
pub(crate) const PROGRAM: &str = "rayos-bootctl";

/// Prints a result on standard output; nothing if it is empty.
pub(crate) fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    cli::output::print(text)
}

/// Prints `value` as indented JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints a warning on standard error.
pub(crate) fn warn(warning: &dyn Display) {
    cli::output::note(&format!("{PROGRAM}: warning: {warning}"));
}
