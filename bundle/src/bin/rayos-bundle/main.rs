//! `rayos-bundle`: creates, signs, checks and extracts bundles.

mod args;
mod commands;
mod examples;
mod exit_status;
mod files;
mod output;
mod passphrase;

use clap::Parser as _;
use cli::ExitStatus;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(args::Cli::parse()) {
        Ok(()) => ExitStatus::Success.into(),
        Err(error) => {
            cli::output::error("rayos-bundle", &error);
            exit_status::of(&error).into()
        }
    }
}
