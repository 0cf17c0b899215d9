//! `rayos-installer`: chooses a disk, creates the slots, and applies the first bundle to one of
//! them.

mod args;
mod commands;
mod exit_code;
mod output;

use args::{Cli, Verb};
use clap::{CommandFactory as _, Parser as _};
use cli::ExitStatus;
use installer::progress_markers::ProgressMarker;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Cli::parse()).into()
}

fn run(arguments: Cli) -> ExitStatus {
    let done = match arguments.verb.unwrap_or(Verb::Plan(arguments.plan)) {
        Verb::Plan(plan) => plan.run(),
        Verb::Apply(apply) => apply.run(),
        Verb::Image(image) => image.run(),
        Verb::Media(media) => media.run(),
        Verb::RepairEsp(repair) => repair.run(),
        Verb::Generate(generate) => generate
            .write(&Cli::command())
            .map(|()| ExitStatus::Success)
            .map_err(Into::into),
    };
    done.unwrap_or_else(|error| {
        cli::output::error("rayos-installer", &error);
        let status = exit_code::exit_status(&error);
        output::emit(&ProgressMarker::Failed(status.code()));
        status
    })
}
