//! `rayos-installer`: chooses a disk, creates the slots, and applies the first bundle to one of
//! them.

mod args;
mod commands;
mod engine;
mod exit_code;
mod output;
mod terminal;

use args::{Cli, Interactive, Plan, Verb};
use clap::{CommandFactory as _, Parser as _};
use cli::ExitStatus;
use installer::progress_markers::ProgressMarker;
use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Cli::parse()).into()
}

fn run(arguments: Cli) -> ExitStatus {
    let verb = arguments
        .verb
        .unwrap_or_else(|| without_verb(arguments.plan));
    let done = match verb {
        Verb::Interactive(interactive) => interactive.run(),
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

/// Returns what is done without a verb: questions for a person at a terminal, a plan otherwise.
fn without_verb(plan: Plan) -> Verb {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal && plan == Plan::default() {
        Verb::Interactive(Interactive::default())
    } else {
        Verb::Plan(plan)
    }
}
