//! `rayos-recovery`: installs from a medium, or reports the state of the disk that it started from.

mod args;
mod installed;
mod medium;
mod output;

use anyhow::{Context as _, Result};
use args::Cli;
use bootctl::efivars::{EFIVARS_DIR, EfiVars as _, Efivarfs, VarError, VarName};
use clap::Parser as _;
use cli::ExitStatus;
use installer::exit_status::exit_status;
use installer::progress_markers::ProgressMarker;
use output::{emit, say};
use record::{Guid, HANDOFF_LEN, Handoff};
use recovery::boot_installed::UnknownMedium;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let status = match run(&Cli::parse()) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            cli::output::error("rayos-recovery", &error);
            let status = if error.is::<NotGuarded>() {
                ExitStatus::NotGuarded
            } else if error.is::<UnknownMedium>() {
                ExitStatus::ConfirmationRequired
            } else {
                exit_status(error.chain())
            };
            emit(&ProgressMarker::Failed(status.code()));
            status
        }
    };
    status.into()
}

fn run(arguments: &Cli) -> Result<()> {
    let vars = Efivarfs::new(Path::new(EFIVARS_DIR));
    if handoff(&vars)?.state_uuid != Guid::ZERO {
        return report_state();
    }
    medium::run(arguments, &vars)
}

/// The boot guard's variable is missing.
#[derive(Debug, thiserror::Error)]
#[error("the boot guard did not start this system: variable {0} of {HANDOFF_LEN} bytes is missing")]
struct NotGuarded(String);

/// Returns the message of the boot guard to this system.
fn handoff(vars: &Efivarfs) -> Result<Handoff> {
    let name = VarName {
        name: Handoff::VARIABLE.to_owned(),
        vendor: record::VENDOR,
    };
    let variable = match vars.get(&name) {
        // A machine without EFI variables was not started by the guard either.
        Err(VarError::Unsupported) => None,
        found => found?,
    };
    let variable = variable.filter(|found| found.attributes == Handoff::ATTRIBUTES);
    match variable.and_then(|variable| Handoff::decode(&variable.data)) {
        Some(handoff) => Ok(handoff),
        None => Err(NotGuarded(name.name).into()),
    }
}

/// Started from the recovery partition: prints the state of the machine.
fn report_state() -> Result<()> {
    say("This is the recovery system. For the state of the machine: rayos-bootctl status, why.");
    say("To install a release again, from a file or a URL: rayos-updater apply BUNDLE.");
    // `why` includes what the firmware kept of a panic.
    for verb in ["collect-panics", "status"] {
        Command::new("rayos-bootctl")
            .arg(verb)
            .status()
            .context("rayos-bootctl")?;
    }
    Ok(())
}
