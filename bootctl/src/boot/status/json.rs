//! The state of a machine for programs.

use super::state::MachineStatus;
use super::words::{choice_word, why_word};
use crate::boot::failure_report::BootFailure;
use crate::boot::watch::Watch;
use crate::firmware::secure_boot::SecureBoot;
use record::{Choice, Handoff, Slot, SlotState, Status as SlotStatus, Why};
use serde::Serialize;

/// Name of the JSON format.
pub const SCHEMA: &str = "rayos-bootctl.status/1";

/// A [`MachineStatus`] as JSON, schema [`SCHEMA`].
#[derive(Clone, Debug, Serialize)]
pub struct StatusJson {
    schema: &'static str,
    sentence: String,
    booted: Option<BootedJson>,
    next: Option<NextJson>,
    default: Option<char>,
    one_shot: Option<&'static str>,
    floor: Option<u64>,
    compatible: Option<String>,
    record_seq: Option<u64>,
    disk_guid: Option<String>,
    slots: Vec<SlotJson>,
    failure: Option<BootFailureJson>,
    health: Option<HealthJson>,
    secure_boot: Option<&'static str>,
    warnings: Vec<String>,
}

impl MachineStatus {
    /// Returns all of it for programs: a JSON object, documented in `docs/boot.md`. *Pure.*
    #[must_use]
    pub fn json(&self) -> StatusJson {
        StatusJson::new(self)
    }
}

impl StatusJson {
    fn new(status: &MachineStatus) -> Self {
        let record = status.record.as_ref();
        let slots = record.map(|record| {
            let slots = Slot::ALL.into_iter();
            slots
                .map(|slot| SlotJson::new(slot, record.slot(slot)))
                .collect()
        });
        Self {
            schema: SCHEMA,
            sentence: status.sentence(),
            booted: status.handoff.as_ref().map(BootedJson::new),
            next: status.next().map(NextJson::new),
            default: record.map(|record| record.default.letter()),
            one_shot: record.and_then(|record| record.one_shot).map(choice_word),
            floor: record.map(|record| record.floor),
            compatible: record.map(|record| record.compatible.to_string()),
            record_seq: record.map(|record| record.seq),
            disk_guid: record.map(|record| record.disk_guid.to_string()),
            slots: slots.unwrap_or_default(),
            failure: status.failure().as_ref().map(BootFailureJson::new),
            health: status.watch.map(HealthJson::new),
            secure_boot: status.secure_boot.map(SecureBoot::word),
            warnings: status.warnings.clone(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct HealthJson {
    checks: usize,
    seconds_left: u64,
}

impl HealthJson {
    fn new(watch: Watch) -> Self {
        Self {
            checks: watch.checks,
            seconds_left: watch.left.as_secs(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct BootedJson {
    choice: &'static str,
    why: &'static str,
    left: u8,
}

impl BootedJson {
    fn new(handoff: &Handoff) -> Self {
        Self {
            choice: choice_word(handoff.choice),
            why: why_word(handoff.why),
            left: handoff.left,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct NextJson {
    choice: &'static str,
    why: &'static str,
}

impl NextJson {
    fn new((choice, why): (Choice, Why)) -> Self {
        Self {
            choice: choice_word(choice),
            why: why_word(why),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct SlotJson {
    slot: char,
    status: &'static str,
    left: Option<u8>,
    tries_granted: u8,
    reason: Option<&'static str>,
    version: String,
    rollback_index: u64,
    manifest_sha256: String,
}

impl SlotJson {
    fn new(slot: Slot, state: &SlotState) -> Self {
        let (status, left) = match state.status {
            SlotStatus::Unbootable => ("unbootable", None),
            SlotStatus::Pending { tries_left } => ("pending", Some(tries_left)),
            SlotStatus::Good { budget_left } => ("good", Some(budget_left)),
        };
        let is_unbootable = state.status == SlotStatus::Unbootable;
        let digest = state.release.manifest_sha256.iter();
        Self {
            slot: slot.letter(),
            status,
            left,
            tries_granted: state.tries_granted,
            reason: is_unbootable.then(|| state.reason.words()),
            version: state.release.version.to_string(),
            rollback_index: state.release.rollback_index,
            manifest_sha256: digest.map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A [`BootFailure`] as JSON, which `why --json` prints, too.
#[derive(Clone, Debug, Serialize)]
pub struct BootFailureJson {
    slot: char,
    version: String,
    launches: u32,
    tries_granted: u8,
    stage: &'static str,
    reason: &'static str,
    last_output: Option<String>,
    time: u64,
    sentence: String,
}

impl BootFailureJson {
    /// Returns the JSON object for a failure. *Pure.*
    #[must_use]
    pub fn new(failure: &BootFailure) -> Self {
        Self {
            slot: failure.slot.letter(),
            version: failure.version.clone(),
            launches: failure.launches,
            tries_granted: failure.granted,
            stage: failure.stage.word(),
            reason: failure.reason.words(),
            last_output: failure.last_output.clone(),
            time: failure.time,
            sentence: failure.to_string(),
        }
    }
}
