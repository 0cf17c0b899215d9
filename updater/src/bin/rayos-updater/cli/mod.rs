//! The command line of `rayos-updater`: one file for each verb.

mod apply;
mod check;
mod common_args;
mod generate;
mod network_args;
mod repair;
mod status;
mod target_args;
mod verify_slot;

pub(crate) use target_args::Held;

use crate::exit_code;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Streams a signed release into the slot that is not running, and shows what came of the last one.
#[derive(Parser)]
#[command(name = "rayos-updater", version, max_term_width = 100, after_help = exit_code::EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Apply(apply::Apply),
    Check(check::Check),
    Status(status::Show),
    VerifySlot(verify_slot::VerifySlot),
    Repair(repair::Repair),
    #[command(hide = true)]
    Generate(generate::Generate),
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        match self.verb {
            Verb::Apply(apply) => apply.run(),
            Verb::Check(check) => check.run(),
            Verb::Status(show) => show.run(),
            Verb::VerifySlot(verify) => verify.run(),
            Verb::Repair(repair) => repair.run(),
            Verb::Generate(generate) => generate.run(),
        }
        .into()
    }
}

/// Seconds since 1970, 0 for a clock that stands before that.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
