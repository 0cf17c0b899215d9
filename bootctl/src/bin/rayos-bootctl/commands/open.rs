//! Opens the machine that the command line names.

use crate::args::MachineArgs;
use crate::error::CommandError;
use bootctl::device::Access;
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs, NoVars};
use bootctl::machine::{self, Machine, MachineError};
use bootctl::sysfs::BlockDevices;
use record::Handoff;
use std::path::Path;

/// Opens the disk that was named, or that of the running machine. *Reads.*
pub(super) fn machine(args: &MachineArgs, access: Access) -> Result<Machine, CommandError> {
    let vars = variables(args);
    Ok(match &args.disk {
        Some(disk) => Machine::open(disk, vars, access)?,
        None => Machine::running(vars, &BlockDevices::default(), access)?,
    })
}

/// Returns the EFI variables that were named, or those of the running machine. An image has none of
/// its own.
pub(super) fn variables(args: &MachineArgs) -> Box<dyn EfiVars> {
    match (&args.efivars, &args.disk) {
        (Some(folder), _) => Box::new(Efivarfs::new(folder)),
        (None, None) => Box::new(Efivarfs::new(Path::new(EFIVARS_DIR))),
        (None, Some(_)) => Box::new(NoVars),
    }
}

/// Returns what the guard reported about this boot. *Reads* variables only: the disk may not answer.
///
/// # Errors
/// [`MachineError::NotGuarded`], also with `--disk`.
pub(super) fn handoff(args: &MachineArgs) -> Result<Handoff, CommandError> {
    let handoff = match args.disk {
        Some(_) => None,
        None => machine::handoff(variables(args).as_ref()).map_err(MachineError::Handoff)?,
    };
    Ok(handoff.ok_or(MachineError::NotGuarded)?)
}
