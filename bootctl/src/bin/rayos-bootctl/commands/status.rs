//! `status`, `why` and `log`: what the machine runs, why, and what happened before.

use super::open::machine;
use super::root_reading::SYS;
use crate::args::{EventArgs, MachineArgs, StatusArgs};
use crate::error::CommandError;
use crate::output::events::{event_text, log_json, quoted};
use crate::output::{print, print_json, warn};
use bootctl::device::Access;
use bootctl::failure_report::BootFailure;
use bootctl::status::BootFailureJson;
use bootctl::verified_root;
use cli::ExitStatus;
use record::Choice;
use record::event::{Event, Kind};
use std::path::Path;

const NOT_OPENED: &str = "the release has a root hash, but no verified device: its initramfs does \
                          not call rayos-bootctl root";

/// Maximum number of lines of a release's last output without `--full`.
const LAST_OUTPUT_LINES: usize = 10;

pub(super) fn status(args: &MachineArgs, options: &StatusArgs) -> Result<ExitStatus, CommandError> {
    let machine = machine(args, Access::Read)?;
    let mut status = machine.status();
    let has_root_hash = machine
        .handoff
        .is_some_and(|handoff| handoff.verified_root.is_some());
    if args.disk.is_none() && has_root_hash && verified_root::opened(Path::new(SYS)).is_none() {
        status.warnings.push(NOT_OPENED.to_owned());
    }
    for warning in &status.warnings {
        warn(warning);
    }
    if options.json {
        print_json(&status.json())?;
    } else {
        print(&status.text())?;
    }
    Ok(match status.record {
        Some(_) => ExitStatus::Success,
        None => ExitStatus::Failed,
    })
}

pub(super) fn why(args: &MachineArgs, options: &EventArgs) -> Result<ExitStatus, CommandError> {
    let machine = machine(args, Access::Read)?;
    // Without a record there is no answer, rather than the answer that no release failed.
    machine.store.read()?;
    let status = machine.status();
    let failure = status.failure();
    match (&failure, options.json) {
        (Some(failure), true) => print_json(&BootFailureJson::new(failure))?,
        (Some(failure), false) => print(&explanation(failure, &status.events, options.full))?,
        (None, true) => print("null")?,
        (None, false) => print(&format!("no release failed: {}", status.sentence()))?,
    }
    Ok(match failure {
        Some(_) => ExitStatus::Success,
        None => ExitStatus::NothingToDo,
    })
}

/// Returns the failure in one sentence, its last output, and the events since the release was
/// activated.
fn explanation(failure: &BootFailure, events: &[Event], full: bool) -> String {
    let mut text = format!("{failure}\n");
    if let Some(output) = &failure.last_output {
        text.push_str(&quoted(output, "  ", LAST_OUTPUT_LINES, full));
    }
    let subject = Some(Choice::Slot(failure.slot));
    let activated = events
        .iter()
        .rposition(|event| event.kind == Kind::Activated && event.subject == subject);
    for event in events.iter().skip(activated.unwrap_or(0)) {
        text.push_str(&event_text(event, full));
    }
    text
}

pub(super) fn log(args: &MachineArgs, options: &EventArgs) -> Result<ExitStatus, CommandError> {
    let events = machine(args, Access::Read)?.log.events()?;
    if options.json {
        print_json(&log_json(&events))?;
    } else {
        let text: String = events
            .iter()
            .map(|event| event_text(event, options.full))
            .collect();
        print(&text)?;
    }
    Ok(ExitStatus::Success)
}
