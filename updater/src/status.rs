//! The last update and its result, added to the status of the machine that `bootctl` reads. *Pure.*

use bootctl::status::{MachineStatus, StatusJson as MachineJson};
use record::event::{self, Kind};
use record::{Choice, Record, Slot, SlotState, Status as SlotStatus};
use serde::Serialize;

/// Name of the JSON format.
pub const SCHEMA: &str = "rayos-updater.status/1";

/// The last update or installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUpdate {
    /// The slot.
    pub slot: Slot,
    /// The release.
    pub version: String,
    /// Time of its start or activation, in seconds since 1970 by the machine's clock; 0 if unknown.
    pub time: u64,
    /// Its result.
    pub result: UpdateResult,
}

/// Result of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateResult {
    /// It is running, or was interrupted.
    Unfinished,
    /// The release waits for its first boot.
    Waiting,
    /// The release was started this many times, and has not committed.
    OnTrial(u8),
    /// The release committed.
    Committed,
    /// The release is Unbootable, for this reason.
    Failed(record::Reason),
}

impl UpdateResult {
    /// Returns the word in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Waiting => "waiting",
            Self::OnTrial(_) => "on-trial",
            Self::Committed => "committed",
            Self::Failed(_) => "failed",
        }
    }

    /// Returns the state and the next step, in words.
    fn words(&self) -> String {
        match self {
            Self::Unfinished => {
                "running or interrupted: apply it again to continue where it stopped".to_owned()
            }
            Self::Waiting => "waits for its first boot: restart to try it".to_owned(),
            Self::OnTrial(starts) => {
                let times = if *starts == 1 {
                    "once".to_owned()
                } else {
                    format!("{starts} times")
                };
                format!("on trial, started {times}: commits when its health checks pass")
            }
            Self::Committed => "committed".to_owned(),
            Self::Failed(reason) => {
                format!("failed, {}: see `rayos-bootctl why`", reason.words())
            }
        }
    }
}

/// The status of a machine, and its last update.
#[derive(Clone, Debug)]
pub struct UpdateStatus {
    machine: MachineStatus,
}

impl UpdateStatus {
    /// Returns the update status for a status that `bootctl` read.
    #[must_use]
    pub const fn new(machine: MachineStatus) -> Self {
        Self { machine }
    }

    /// Returns the last update, by the event ring and the boot record; `None` if unknown.
    #[must_use]
    pub fn last_update(&self) -> Option<LastUpdate> {
        let record = self.machine.record.as_ref()?;
        let is_update =
            |event: &&event::Event| matches!(event.kind, Kind::Disarmed | Kind::Activated);
        let event = self.machine.events.iter().rev().find(is_update)?;
        let Some(Choice::Slot(slot)) = event.subject else {
            return None;
        };
        let result = self.result(record, slot, event)?;
        Some(LastUpdate {
            slot,
            version: event.version.to_string(),
            time: event.time,
            result,
        })
    }

    /// The boot record decides; the event ring adds what the record does not hold.
    fn result(&self, record: &Record, slot: Slot, event: &event::Event) -> Option<UpdateResult> {
        let state: &SlotState = record.slot(slot);
        let same = state.release.version == event.version;
        match state.status {
            SlotStatus::Unbootable if event.kind == Kind::Disarmed => {
                Some(UpdateResult::Unfinished)
            }
            // The last event and the record are about different releases: the ring lost events.
            _ if !same => None,
            SlotStatus::Unbootable => Some(UpdateResult::Failed(state.reason)),
            SlotStatus::Good { .. } => Some(UpdateResult::Committed),
            SlotStatus::Pending { tries_left } => {
                Some(match state.tries_granted.saturating_sub(tries_left) {
                    0 => UpdateResult::Waiting,
                    starts => UpdateResult::OnTrial(starts),
                })
            }
        }
    }

    /// Returns whether a release waits for its first boot.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let waits = |state: &SlotState| {
            let tries_left = state.tries_granted;
            state.status == SlotStatus::Pending { tries_left }
        };
        self.machine
            .record
            .is_some_and(|record| record.slots.iter().any(waits))
    }

    /// Returns the text of `rayos-bootctl status`, then a line about the last update.
    #[must_use]
    pub fn text(&self) -> String {
        let last = self.last_update().map_or_else(
            || "last update: none known\n".to_owned(),
            |last| {
                format!(
                    "last update: {} in slot {}, {}\n",
                    last.version,
                    last.slot,
                    last.result.words()
                )
            },
        );
        self.machine.text() + &last
    }

    /// Returns the same as one JSON object, described by `docs/schemas`.
    #[must_use]
    pub fn json(&self) -> StatusJson {
        StatusJson {
            schema: SCHEMA,
            sentence: self.machine.sentence(),
            last_update: self.last_update().map(|last| LastUpdateJson {
                slot: last.slot.letter(),
                time: (last.time != 0).then_some(last.time),
                result: last.result.word(),
                reason: match last.result {
                    UpdateResult::Failed(reason) => Some(reason.words()),
                    _ => None,
                },
                next: last.result.words(),
                version: last.version,
            }),
            machine: self.machine.json(),
        }
    }

    /// Returns the problems that kept parts of the status from being read.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.machine.warnings
    }
}

/// The JSON object of [`UpdateStatus::json`].
#[derive(Clone, Debug, Serialize)]
pub struct StatusJson {
    schema: &'static str,
    sentence: String,
    last_update: Option<LastUpdateJson>,
    machine: MachineJson,
}

#[derive(Clone, Debug, Serialize)]
struct LastUpdateJson {
    slot: char,
    version: String,
    time: Option<u64>,
    result: &'static str,
    reason: Option<&'static str>,
    next: String,
}
