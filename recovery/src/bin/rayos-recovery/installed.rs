//! Booting what is installed on a disk, with its boot guard restored first if it is lost.

use crate::output::{emit, say};
use anyhow::{Context as _, Result};
use bootctl::device::Access;
use bootctl::efivars::{EFIVARS_DIR, Efivarfs};
use bootctl::machine::Machine;
use bootctl::secure_boot::SecureBoot;
use installer::host::restart;
use installer::install::answers::Then;
use installer::progress_markers::ProgressMarker;
use recovery::medium::MediumError;
use recovery::{boot_installed, guard_repair};
use std::path::Path;

/// Boots the system on `disk`, by a restart; unless `then` asks for something else.
pub(crate) fn start(disk: &Path, then: Then) -> Result<()> {
    let path = disk.display();
    match then {
        Then::Reboot => {}
        Then::PowerOff | Then::Nothing => {
            say(&format!(
                "{path} contains an installation: nothing was changed."
            ));
            if then == Then::PowerOff {
                restart(true)?;
            }
            return Ok(());
        }
    }
    let vars = Box::new(Efivarfs::new(Path::new(EFIVARS_DIR)));
    let machine = Machine::open(disk, vars, Access::Write)?;
    let choice = boot_installed::request_boot(&machine, cli::clock::now())
        .with_context(|| format!("{path} contains an installation that cannot be booted"))?;
    drop(machine);
    say(&format!(
        "Starting {choice} of {path}, which is installed already."
    ));
    emit(&ProgressMarker::AlreadyInstalled(disk));
    Ok(restart(false)?)
}

/// Restores the boot guard if the firmware cannot start `disk` without it, which may be why the
/// medium was inserted. A failure is printed and does not stop the boot.
pub(crate) fn restore_guard(
    disk: &Path,
    bundle: Result<String, MediumError>,
    trust: &Path,
    vars: &Efivarfs,
) {
    let restore = || -> Result<bool> {
        if !guard_repair::is_needed(disk)? {
            return Ok(false);
        }
        say(&format!(
            "{} has lost its boot guard: rewriting the EFI system partition.",
            disk.display()
        ));
        let trust = bundle::trust::load(trust)?;
        let must_be_signed = SecureBoot::is_on(vars);
        guard_repair::restore(disk, Path::new(&bundle?), &trust, must_be_signed)?;
        Ok(true)
    };
    match restore() {
        Ok(true) => say("The boot guard is restored."),
        Ok(false) => {}
        Err(error) => {
            let error = error.context("the boot guard was not restored");
            cli::output::error("rayos-recovery", &error);
        }
    }
}
