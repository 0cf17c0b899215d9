//! The verbs of `rayos-updater`, one file each, and the arguments that they share.

mod apply;
mod check;
mod common_args;
mod network_args;
mod repair;
mod status;
mod target_args;
mod verify_slot;

pub(crate) use target_args::DiskInUse;

use crate::{exit_code, output};
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use cli::ExitStatus;
use cli::generate::Generate;

/// Apply a signed release to the slot that is not running, and show the state of updates
#[derive(Parser)]
#[command(name = "rayos-updater", version, max_term_width = 100, after_help = exit_code::help())]
pub(crate) struct CommandLine {
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
    Generate(Generate),
}

impl CommandLine {
    pub(crate) fn run(self) -> ExitStatus {
        match self.verb {
            Verb::Apply(apply) => apply.run(),
            Verb::Check(check) => check.run(),
            Verb::Status(show) => show.run(),
            Verb::VerifySlot(verify) => verify.run(),
            Verb::Repair(repair) => repair.run(),
            Verb::Generate(generate) => run_generate(&generate),
        }
    }
}

fn run_generate(generate: &Generate) -> ExitStatus {
    let written = generate
        .write(&CommandLine::command())
        .with_context(|| generate.output.display().to_string());
    match written {
        Ok(()) => ExitStatus::Success,
        Err(error) => output::failed(&error),
    }
}
