//! `rayos-updater`: streams a signed release into the slot that is not running.

mod cli;
mod signals;
mod watched;
mod words;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
