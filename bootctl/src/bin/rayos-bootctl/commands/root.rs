//! `root`: the device by which the root of the booted slot is read.

use super::booted::root_device;
use super::open::variables;
use crate::args::{Corruption, MachineArgs, RootArgs};
use crate::error::CommandError;
use crate::output::print;
use bootctl::machine::{MachineError, handoff};
use bootctl::verified_root;
use cli::ExitStatus;
use devmapper::OnCorruption;

/// Makes the verified device and prints its node; that of the partition if the release has no root
/// hash. *Writes* the kernel's state.
pub(super) fn root(args: &MachineArgs, options: &RootArgs) -> Result<ExitStatus, CommandError> {
    let handoff = handoff(variables(args).as_ref())
        .map_err(MachineError::Handoff)?
        .ok_or(MachineError::NotGuarded)?;
    let partition = root_device(&handoff)?;
    let on_corruption = match options.on_corruption {
        Corruption::Restart => verified_root::restart(),
        Corruption::Report => OnCorruption::Report,
    };
    let node = verified_root::open(&handoff, &partition, on_corruption)?;
    print(&node.display().to_string())?;
    Ok(ExitStatus::Success)
}
