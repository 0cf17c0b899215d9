//! What the last update was, and what came of it: `bootctl`'s status of the machine, seen by
//! whoever updates it. Pure.

use bootctl::status::{MachineStatus, StatusJson as MachineJson};
use record::event::{Event, Kind};
use record::{Choice, Record, Slot, SlotState, Status as SlotStatus};
use serde::Serialize;

/// Name of the JSON format.
pub const SCHEMA: &str = "rayos-updater.status/1";

/// The last time that a release was put into a slot, the installation included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUpdate {
    /// The slot.
    pub slot: Slot,
    /// The release.
    pub version: String,
    /// When it began or was armed, in seconds since 1970 by the machine's clock; 0 if unknown.
    pub time: u64,
    /// What came of it.
    pub result: UpdateResult,
}

/// What came of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateResult {
    /// It is under way, or was cut off.
    Unfinished,
    /// It is in its slot, and was not started yet.
    Waiting,
    /// It was started so many times, and has not committed.
    OnTrial(u8),
    /// It was declared good.
    Committed,
    /// It is not started any more, for this reason.
    Failed(record::Reason),
}

impl UpdateResult {
    /// The word in JSON.
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

    /// What was done, and what is to be done now.
    fn words(&self) -> String {
        match self {
            Self::Unfinished => {
                "is being written, or was cut off: apply it again, and it goes on where it stopped"
                    .to_owned()
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
                format!("failed, {}: `rayos-bootctl why` tells more", reason.words())
            }
        }
    }
}

/// The machine, and its last update.
#[derive(Clone, Debug)]
pub struct Status {
    machine: MachineStatus,
}

impl Status {
    /// The status of a machine that `bootctl` has looked at.
    #[must_use]
    pub const fn new(machine: MachineStatus) -> Self {
        Self { machine }
    }

    /// The last update that the event ring and the record tell of. *Pure.*
    #[must_use]
    pub fn last_update(&self) -> Option<LastUpdate> {
        let record = self.machine.record.as_ref()?;
        let is_update = |event: &&Event| matches!(event.kind, Kind::Disarmed | Kind::Activated);
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

    /// The record is the authority; the ring tells what the record does not keep.
    fn result(&self, record: &Record, slot: Slot, event: &Event) -> Option<UpdateResult> {
        let state: &SlotState = record.slot(slot);
        let same = state.release.version == event.version;
        match state.status {
            SlotStatus::Unbootable if event.kind == Kind::Disarmed => {
                Some(UpdateResult::Unfinished)
            }
            // The ring's last word and the record speak of different things: the ring lost some of
            // its events.
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

    /// Whether a release waits for its first boot. *Pure.*
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let waits = |state: &SlotState| matches!(state.status, SlotStatus::Pending { tries_left } if tries_left == state.tries_granted);
        self.machine
            .record
            .is_some_and(|record| record.slots.iter().any(waits))
    }

    /// The machine in words, as `rayos-bootctl status` has it, then the last update. *Pure.*
    #[must_use]
    pub fn text(&self) -> String {
        let last = self.last_update().map_or_else(
            || "last update: none is known\n".to_owned(),
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

    /// The same for programs: one JSON object, described by `docs/schemas`. *Pure.*
    #[must_use]
    pub fn json(&self) -> Json {
        Json {
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

    /// What stands in the way of knowing more.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.machine.warnings
    }
}

/// The JSON object of [`Status::json`].
#[derive(Clone, Debug, Serialize)]
pub struct Json {
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
