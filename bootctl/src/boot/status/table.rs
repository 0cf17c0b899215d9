//! The slots as a table.

use super::state::MachineStatus;
use crate::firmware::secure_boot::SecureBoot;
use record::{Choice, Record, Slot, SlotState, Status as SlotStatus};

impl MachineStatus {
    /// Returns the sentence and the slots as a table. *Pure.*
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.sentence();
        text.push('\n');
        if let Some(record) = &self.record {
            text.push_str(&slots(record, self.booted()));
            text.push_str(&summary(record, self.secure_boot));
        }
        text
    }
}

/// Returns an empty line, the table, and the reason for each slot that is not started.
fn slots(record: &Record, booted: Option<Choice>) -> String {
    let mut text = format!(
        "\n{:<6}{:<22}{:<14}{:<16}role\n",
        "slot", "status", "version", "rollback index"
    );
    for slot in Slot::ALL {
        text.push_str(&row(record, slot, booted));
    }
    for slot in Slot::ALL {
        let state = record.slot(slot);
        if state.status == SlotStatus::Unbootable {
            let reason = state.reason.words();
            text.push_str(&format!("slot {slot} is not started: {reason}\n"));
        }
    }
    text
}

fn row(record: &Record, slot: Slot, booted: Option<Choice>) -> String {
    let state = record.slot(slot);
    let is_booted = booted == Some(Choice::Slot(slot));
    let role = match (is_booted, record.default == slot) {
        (true, true) => "booted, default",
        (true, false) => "booted",
        (false, true) => "default",
        (false, false) => "",
    };
    let version = match state.release.version.as_str() {
        "" => "-",
        version => version,
    };
    let row = format!(
        "{:<6}{:<22}{version:<14}{:<16}{role}",
        slot.letter(),
        status_words(state),
        state.release.rollback_index
    );
    format!("{}\n", row.trim_end())
}

fn status_words(state: &SlotState) -> String {
    match state.status {
        SlotStatus::Unbootable => "Unbootable".to_owned(),
        SlotStatus::Pending { tries_left } => format!("Pending, {tries_left} tries left"),
        SlotStatus::Good { budget_left } => format!("Good, budget {budget_left}"),
    }
}

/// Returns the last line: floor, compatible, record and Secure Boot.
fn summary(record: &Record, secure_boot: Option<SecureBoot>) -> String {
    let compatible = match record.compatible.as_str() {
        "" => "unknown",
        compatible => compatible,
    };
    let secure_boot = match secure_boot {
        None => "",
        Some(SecureBoot::Off) => ", Secure Boot off",
        Some(SecureBoot::Setup) => ", Secure Boot off (setup mode)",
        Some(SecureBoot::On) => ", Secure Boot on",
    };
    let (floor, seq) = (record.floor, record.seq);
    format!("floor {floor}, compatible {compatible}, record {seq}{secure_boot}\n")
}
