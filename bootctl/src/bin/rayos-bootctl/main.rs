//! `rayos-bootctl`: shows and controls how this machine boots.
//!
//! | module | holds |
//! | --- | --- |
//! | `args` | the command line: one struct for each verb |
//! | `commands` | the verbs: each opens the machine, calls the library and prints |
//! | `error` | `CommandError`, and the exit status for each |
//! | `output` | text and JSON for events and boot entries |

mod args;
mod commands;
mod error;
mod output;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let status = commands::run(&args::Cli::parse()).unwrap_or_else(|error| {
        cli::output::error(output::PROGRAM, &error);
        error.exit_status()
    });
    status.into()
}
