//! `rayos-bootctl`: how this machine boots.

mod args;
mod commands;
mod output;
mod repair;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match commands::run(&cli) {
        Ok(code) => code,
        Err(failure) => {
            output::say(format_args!("rayos-bootctl: {failure}"));
            failure.code()
        }
    }
}
