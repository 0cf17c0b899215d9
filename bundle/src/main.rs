//! `rayos-bundle`: make, sign, check and open releases.

mod cli;
mod deltas;
mod examples;
mod files;
mod look;
mod terminal;
mod trusted;
mod verbs;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::from(verbs::exit_code(&error))
        }
    }
}
