//! The arguments about the machine: the running one, or one on a disk.

use anyhow::Result;
use bootctl::device::{Access, OpenError};
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs, NoVars};
use bootctl::machine::{Machine, MachineError};
use bootctl::sysfs::BlockDevices;
use clap::Args;
use cli::clock::now;
use record::Choice;
use seal::{Trust, TrustChain};
use std::path::{Path, PathBuf};
use updater::TargetMachine;
use updater::guard_keys::machine_chain;
use updater::lock_owner::{LockOwner, lock_owner};

/// Another program uses the disk.
#[derive(Debug, thiserror::Error)]
#[error("{error}: {owner}")]
pub(crate) struct DiskInUse {
    error: MachineError,
    owner: LockOwner,
}

#[derive(Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct TargetArgs {
    /// Use this disk or disk image instead of the disk of the running machine
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// With --disk: the slot to treat as running (none: neither slot runs)
    #[arg(long, value_name = "SLOT", requires = "disk")]
    booted: Option<Choice>,
    /// With --disk: a folder in efivarfs format for the boot entries
    #[arg(long, value_name = "FOLDER", requires = "disk")]
    efivars: Option<PathBuf>,
}

impl TargetArgs {
    /// Opens the machine. *Reads.*
    pub(super) fn open(&self, access: Access) -> Result<Machine> {
        let efivarfs = |folder: &Path| Box::new(Efivarfs::new(folder)) as Box<dyn EfiVars>;
        let opened = match (&self.disk, &self.efivars) {
            (Some(disk), Some(folder)) => Machine::open(disk, efivarfs(folder), access),
            (Some(disk), None) => Machine::open(disk, Box::new(NoVars), access),
            (None, _) => Machine::running(
                efivarfs(Path::new(EFIVARS_DIR)),
                &BlockDevices::default(),
                access,
            ),
        };
        opened.map_err(|error| match &error {
            MachineError::Open(OpenError::Busy(path)) => match lock_owner(path) {
                Some(owner) => DiskInUse { error, owner }.into(),
                None => error.into(),
            },
            _ => error.into(),
        })
    }

    /// Returns the trust of the machine: `trust`, along the trust links on its disk. *Reads*, before
    /// the disk is locked. A commit in the meantime can only raise the trust floor, which the
    /// guards' keys are compared with again under the lock.
    pub(super) fn trust_chain(&self, trust: Trust) -> Result<TrustChain> {
        let machine = self.open(Access::Read)?;
        let record = machine.store.read().ok();
        Ok(machine_chain(&machine.disk, record.as_ref(), trust))
    }

    /// Calls `work` with the machine, while the lock of its disk is held.
    pub(super) fn with_machine<R>(&self, work: impl FnOnce(&TargetMachine<'_>) -> R) -> Result<R> {
        let opened = self.open(Access::Write)?;
        let has_variables = self.disk.is_none() || self.efivars.is_some();
        Ok(work(&TargetMachine {
            vars: has_variables.then_some(opened.vars.as_ref()),
            booted: self.booted(&opened),
            disk: opened.disk,
            store: opened.store,
            now: now(),
        }))
    }

    /// Returns the running system; recovery if it is not a slot of this disk.
    pub(super) fn booted(&self, machine: &Machine) -> Choice {
        self.booted.or(machine.booted()).unwrap_or(Choice::Recovery)
    }

    /// Returns the argument of `--booted`.
    pub(super) const fn booted_argument(&self) -> Option<Choice> {
        self.booted
    }
}
