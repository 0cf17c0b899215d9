//! `rayos-updater`: streams a signed release into the slot that is not running.

mod cli;
mod exit_code;
mod interruptible;
mod output;
mod signals;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
