//! `rayos-bundle`: make, sign, check and open releases.

mod args;
mod commands;
mod examples;
mod exit_code;
mod files;
mod output;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(exit_code::exit_code(&error))
        }
    }
}
