//! `rayos-updater`: applies a signed release to the slot that is not running, compares and repairs
//! slots.
//!
//! | module | holds |
//! | --- | --- |
//! | `commands` | one file per verb, and the arguments that several verbs share |
//! | `exit_code` | exit status and reason of an error |
//! | `output` | results as text and JSON |
//! | `interruptible` | the progress display, and how far the target slot is |
//! | `signals` | SIGINT and SIGTERM |

mod commands;
mod exit_code;
mod interruptible;
mod output;
mod signals;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    commands::CommandLine::parse().run().into()
}
