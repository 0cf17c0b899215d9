//! `rayos-installer`: chooses a disk, creates the slots, and applies the first bundle to one of
//! them.

mod cli;
mod repair_esp;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
