//! `entries`: the boot entries of the firmware.

use super::open::{machine, variables};
use crate::args::{EntriesArgs, MachineArgs};
use crate::error::CommandError;
use crate::output::entries::{entries_json, entries_text};
use crate::output::{print, print_json};
use bootctl::device::Access;
use bootctl::reconcile::{BootVars, Warning};
use cli::ExitStatus;

pub(super) fn entries(
    args: &MachineArgs,
    options: &EntriesArgs,
) -> Result<ExitStatus, CommandError> {
    let vars = BootVars::read(variables(args).as_ref()).map_err(CommandError::Variables)?;
    // Only the disk tells which entries are ours; without it the list is still useful.
    let facts = machine(args, Access::Read)
        .ok()
        .and_then(|machine| machine.facts());
    if options.json {
        print_json(&entries_json(&vars, facts.as_ref()))?;
    } else {
        print(&entries_text(&vars, facts.as_ref(), options.verbose))?;
    }
    if let Some(words) = vars.unreadable_words() {
        return Err(CommandError::Entries(Warning::PartlyUnreadable(words)));
    }
    Ok(ExitStatus::Success)
}
