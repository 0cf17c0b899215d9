//! The state of a machine in one sentence.

use super::state::MachineStatus;
use crate::boot::watch::Watch;
use record::{Choice, Handoff, Record, Slot, Status as SlotStatus, Why};
use std::time::Duration;

impl MachineStatus {
    /// Returns one sentence: what runs, why, and what comes next. *Pure.*
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}

fn sentence(status: &MachineStatus) -> String {
    let Some(record) = &status.record else {
        return without_record(status.handoff);
    };
    let next = status.next();
    let mut text = match (status.handoff, next) {
        (Some(handoff), _) => running(record, &handoff, status.watch),
        (None, Some((choice, why))) => format!("not running; {}", next_boot(record, choice, why)),
        (None, None) => "not running".to_owned(),
    };
    if let Some(failure) = status.failure() {
        // The failure of the other slot is the reason why this one runs.
        let is_reason = matches!(status.booted(), Some(Choice::Slot(slot)) if slot != failure.slot);
        let join = if is_reason { ", because" } else { ";" };
        text.push_str(&format!("{join} {failure}"));
    }
    if let (Some(handoff), Some((choice, why))) = (status.handoff, next)
        && choice != handoff.choice
    {
        text.push_str(&format!("; {}", next_boot(record, choice, why)));
    }
    text
}

fn without_record(handoff: Option<Handoff>) -> String {
    match handoff {
        Some(handoff) => format!("running {}; the boot record cannot be read", handoff.choice),
        None => "state unknown: the boot record cannot be read".to_owned(),
    }
}

fn running(record: &Record, handoff: &Handoff, watch: Option<Watch>) -> String {
    let Choice::Slot(slot) = handoff.choice else {
        let reason = match handoff.why {
            Why::NothingBootable => "no slot can be started",
            Why::OneShot => "it was requested for this boot only",
            _ => "it was requested",
        };
        return format!("running recovery: {reason}");
    };
    let state = record.slot(slot);
    let name = format!("running {slot} {}", state.release.version);
    match state.status {
        SlotStatus::Good { .. } => {
            let reason = match handoff.why {
                Why::Fallback => ", as the fallback",
                Why::OneShot => ", for this boot only",
                _ => "",
            };
            format!("{name}, committed{reason}")
        }
        SlotStatus::Pending { tries_left } => {
            let granted = state.tries_granted;
            let trial = granted.saturating_sub(tries_left);
            let outlook = outlook(record, slot, tries_left, watch);
            format!("{name}, trial {trial} of {granted}, {outlook}")
        }
        SlotStatus::Unbootable => {
            let reason = state.reason.words();
            format!("{name}, which will not be started again: {reason}")
        }
    }
}

/// Returns when a trial commits, and what happens otherwise.
fn outlook(record: &Record, slot: Slot, tries_left: u8, watch: Option<Watch>) -> String {
    let other = record.slot(slot.other());
    let fallback = if other.is_bootable() {
        format!("{} {}", slot.other(), other.release.version)
    } else {
        "recovery".to_owned()
    };
    let condition = match watch.map(|watch| watch.checks) {
        None | Some(0) => "its health checks pass".to_owned(),
        Some(1) => "1 check passes".to_owned(),
        Some(checks) => format!("{checks} checks pass"),
    };
    let when = watch.map_or_else(String::new, |watch| format!(" in {}", duration(watch.left)));
    if tries_left == 0 {
        return format!("commits when {condition}, else returns to {fallback}{when}");
    }
    let last = record.slot(slot).tries_granted;
    format!(
        "commits when {condition}, else starts again{when}; after trial {last} it returns to \
         {fallback}"
    )
}

/// Formats a duration exactly: `45s`, `4m10s`, `2h5m`.
fn duration(left: Duration) -> String {
    let seconds = left.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

fn next_boot(record: &Record, choice: Choice, why: Why) -> String {
    let name = match choice {
        Choice::Slot(slot) => format!("slot {slot} {}", record.slot(slot).release.version),
        Choice::Recovery => "recovery".to_owned(),
    };
    let reason = match why {
        Why::Default => "the default",
        Why::Trial => "on trial",
        Why::OneShot => "requested for one boot",
        Why::Fallback => "as the fallback",
        Why::Requested => "requested",
        Why::NothingBootable => "because no slot can be started",
    };
    format!("the next boot starts {name}, {reason}")
}
