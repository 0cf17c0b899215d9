//! Which machine: the running one, or one on a disk.

use super::now;
use anyhow::Result;
use bootctl::device::{Access, OpenError};
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs};
use bootctl::machine::{Machine, MachineError};
use bootctl::sysfs::BlockDevices;
use clap::Args;
use record::Choice;
use std::path::{Path, PathBuf};
use updater::lock_owner::{Holder, holder};

/// Where no EFI variables are: an image of another machine's disk.
const NO_EFIVARS: &str = "/nonexistent";

/// Another program works on the disk, and it is known which.
#[derive(Debug, thiserror::Error)]
#[error("{error}: {holder}")]
pub(crate) struct Held {
    error: MachineError,
    holder: Holder,
}

#[derive(Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct Place {
    /// Work on this disk or disk image instead of the running machine's disk
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// With --disk: the slot to be taken as running (none: neither is)
    #[arg(long, value_name = "SLOT", requires = "disk")]
    booted: Option<Choice>,
    /// With --disk: a directory in efivarfs format, to keep boot entries in
    #[arg(long, value_name = "DIR", requires = "disk")]
    efivars: Option<PathBuf>,
}

impl Place {
    /// The running machine, or the one on the disk.
    pub(super) fn open(&self, access: Access) -> Result<Machine> {
        let efivars = |dir: &Path| Box::new(Efivarfs::new(dir)) as Box<dyn EfiVars>;
        let opened = match &self.disk {
            Some(path) => {
                let dir = self.efivars.as_deref().unwrap_or(Path::new(NO_EFIVARS));
                Machine::open(path, efivars(dir), access)
            }
            None => Machine::running(
                efivars(Path::new(EFIVARS_DIR)),
                &BlockDevices::default(),
                access,
            ),
        };
        opened.map_err(|error| match &error {
            MachineError::Open(OpenError::Busy(path)) => match holder(path) {
                Some(holder) => Held { error, holder }.into(),
                None => error.into(),
            },
            _ => error.into(),
        })
    }

    /// Does `work` on it, under its disk's lock.
    pub(super) fn work_on<R>(&self, work: impl FnOnce(&updater::Machine<'_>) -> R) -> Result<R> {
        let opened = self.open(Access::Write)?;
        Ok(work(&updater::Machine {
            vars: self.has_variables().then_some(opened.vars.as_ref()),
            booted: self.booted(&opened),
            disk: opened.disk,
            store: opened.store,
            now: now(),
        }))
    }

    /// What runs, or is to be taken as running; recovery where nothing of this disk does.
    pub(super) fn booted(&self, machine: &Machine) -> Choice {
        self.taken_as_booted()
            .or(machine.booted())
            .unwrap_or(Choice::Recovery)
    }

    /// What is to be taken as running.
    pub(super) const fn taken_as_booted(&self) -> Option<Choice> {
        self.booted
    }

    /// Whether the machine has EFI variables that can be worked on.
    pub(super) const fn has_variables(&self) -> bool {
        self.disk.is_none() || self.efivars.is_some()
    }
}
