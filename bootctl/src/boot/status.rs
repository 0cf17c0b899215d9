//! The state of a machine in one sentence, in a table, and as JSON.

use crate::boot::failure_report::{self, Failure};
use crate::boot::watch::Watch;
use crate::firmware::secure_boot::SecureBoot;
use record::event::Event;
use record::{
    Choice, Decision, Handoff, Record, Request, Slot, SlotState, Status as SlotStatus, Tried, Why,
    decide,
};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Name of the JSON format.
pub const SCHEMA: &str = "rayos-bootctl.status/1";

/// What is known about a machine. All of it may be missing but the warnings.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What the guard said about this boot; `None` offline.
    pub handoff: Option<Handoff>,
    /// The boot record.
    pub record: Option<Record>,
    /// The story so far, oldest first.
    pub events: Vec<Event>,
    /// The health checks that are running, if any.
    pub watch: Option<Watch>,
    /// What the firmware says of Secure Boot; `None` offline, or where it says nothing.
    pub secure_boot: Option<SecureBoot>,
    /// What stands in the way of knowing or doing more.
    pub warnings: Vec<String>,
}

impl Status {
    /// What happens at the next boot, if nothing is done until then. *Pure.*
    #[must_use]
    pub fn next(&self) -> Option<(Choice, Why)> {
        match decide(self.record.as_ref()?, Request::Plain, Tried::default()) {
            Decision::Launch { choice, why, .. } => Some((choice, why)),
            Decision::GiveUp { .. } => None,
        }
    }

    /// The failure that explains why this slot runs, if there was one. *Pure.*
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let booted = self.handoff.map(|handoff| handoff.choice);
        failure_report::explains(
            self.record.as_ref()?,
            &self.events,
            booted.or(self.next().map(|(choice, _)| choice)),
        )
    }

    /// One sentence: what runs, why, and what comes next. *Pure.*
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some(record) = &self.record else {
            return self.handoff.map_or_else(
                || "nothing is known: the boot record cannot be read".to_owned(),
                |handoff| format!("running {}; the boot record cannot be read", handoff.choice),
            );
        };
        let mut text = match (self.handoff, self.next()) {
            (Some(handoff), _) => running(record, handoff.choice, handoff.why, self.watch),
            (None, Some((choice, why))) => {
                format!("not running; {}", next_boot(record, choice, why))
            }
            (None, None) => "not running".to_owned(),
        };
        if let Some(failure) = self.failure() {
            // What failed in the other slot is why this one runs.
            let runs = self.handoff.map(|handoff| handoff.choice);
            let elsewhere = matches!(runs, Some(Choice::Slot(slot)) if slot != failure.slot);
            write_into(
                &mut text,
                format_args!("{} {failure}", if elsewhere { ", since" } else { ";" }),
            );
        }
        if let (Some(handoff), Some((choice, why))) = (self.handoff, self.next())
            && choice != handoff.choice
        {
            write_into(
                &mut text,
                format_args!("; {}", next_boot(record, choice, why)),
            );
        }
        text
    }

    /// The sentence, the slots in a table, and the warnings. *Pure.*
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.sentence();
        text.push('\n');
        let Some(record) = &self.record else {
            return text;
        };
        let booted = self.handoff.map(|handoff| handoff.choice);
        write_into(
            &mut text,
            format_args!(
                "\n{:<6}{:<22}{:<14}{:<16}{}\n",
                "slot", "status", "version", "rollback index", "role"
            ),
        );
        for slot in Slot::ALL {
            let state = record.slot(slot);
            let role = match (booted == Some(Choice::Slot(slot)), record.default == slot) {
                (true, true) => "booted, default",
                (true, false) => "booted",
                (false, true) => "default",
                (false, false) => "",
            };
            let (status, index) = (status_words(state), state.release.rollback_index);
            let version = if state.release.version.as_str().is_empty() {
                "-"
            } else {
                state.release.version.as_str()
            };
            let row = format!(
                "{:<6}{status:<22}{version:<14}{index:<16}{role}",
                slot.letter()
            );
            write_into(&mut text, format_args!("{}\n", row.trim_end()));
        }
        for slot in Slot::ALL {
            let state = record.slot(slot);
            if state.status == SlotStatus::Unbootable {
                write_into(
                    &mut text,
                    format_args!("slot {slot} is not started: {}\n", state.reason.words()),
                );
            }
        }
        let compatible = match record.compatible.as_str() {
            "" => "unknown",
            compatible => compatible,
        };
        let Record { floor, seq, .. } = record;
        let secure_boot = match self.secure_boot {
            None => "",
            Some(SecureBoot::Off) => ", Secure Boot off",
            Some(SecureBoot::Setup) => ", Secure Boot off (setup mode)",
            Some(SecureBoot::On) => ", Secure Boot on",
        };
        write_into(
            &mut text,
            format_args!("floor {floor}, compatible {compatible}, record {seq}{secure_boot}\n"),
        );
        text
    }

    /// The same for programs: one JSON object, documented in `docs/boot.md`. *Pure.*
    #[must_use]
    pub fn json(&self) -> Json {
        let booted = self.handoff.map(|handoff| Booted {
            choice: choice_word(handoff.choice),
            why: why_word(handoff.why),
            left: handoff.left,
        });
        let next = self.next().map(|(choice, why)| Next {
            choice: choice_word(choice),
            why: why_word(why),
        });
        let record = self.record.as_ref();
        Json {
            schema: SCHEMA,
            sentence: self.sentence(),
            booted,
            next,
            default: record.map(|record| record.default.letter()),
            one_shot: record.and_then(|record| record.one_shot).map(choice_word),
            floor: record.map(|record| record.floor),
            compatible: record.map(|record| record.compatible.to_string()),
            record_seq: record.map(|record| record.seq),
            disk_guid: record.map(|record| record.disk_guid.to_string()),
            slots: record.map_or_else(Vec::new, |record| {
                Slot::ALL
                    .into_iter()
                    .map(|slot| SlotJson::new(slot, record.slot(slot)))
                    .collect()
            }),
            failure: self.failure().map(|failure| FailureJson::new(&failure)),
            health: self.watch.map(|watch| HealthJson {
                checks: watch.checks,
                seconds_left: watch.left.as_secs(),
            }),
            secure_boot: self.secure_boot.map(SecureBoot::word),
            warnings: self.warnings.clone(),
        }
    }
}

fn write_into(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if text.write_fmt(arguments).is_err() {
        text.clear();
    }
}

fn running(record: &Record, choice: Choice, why: Why, watch: Option<Watch>) -> String {
    let Choice::Slot(slot) = choice else {
        let because = match why {
            Why::NothingBootable => "no slot can be started",
            Why::OneShot => "it was asked for, for this boot alone",
            _ => "it was asked for",
        };
        return format!("running recovery: {because}");
    };
    let state = record.slot(slot);
    let name = format!("running {slot} {}", state.release.version);
    match state.status {
        SlotStatus::Good { .. } => {
            let because = match why {
                Why::Fallback => ", as the fallback",
                Why::OneShot => ", for this boot alone",
                _ => "",
            };
            format!("{name}, committed{because}")
        }
        SlotStatus::Pending { tries_left } => {
            let this = state.tries_granted.saturating_sub(tries_left);
            format!(
                "{name}, trial {this} of {}, {}",
                state.tries_granted,
                outlook(record, slot, tries_left, watch)
            )
        }
        SlotStatus::Unbootable => format!(
            "{name}, which is not started again: {}",
            state.reason.words()
        ),
    }
}

/// What a trial is waiting for, and what comes if that does not happen.
fn outlook(record: &Record, slot: Slot, tries_left: u8, watch: Option<Watch>) -> String {
    let other = record.slot(slot.other());
    let back = if other.is_bootable() {
        format!("{} {}", slot.other(), other.release.version)
    } else {
        "recovery".to_owned()
    };
    let checks = match watch.map(|watch| watch.checks) {
        None | Some(0) => "its health checks pass".to_owned(),
        Some(1) => "1 check passes".to_owned(),
        Some(checks) => format!("{checks} checks pass"),
    };
    let when = watch.map_or_else(String::new, |watch| format!(" in {}", duration(watch.left)));
    if tries_left == 0 {
        format!("commits when {checks}, else returns to {back}{when}")
    } else {
        let last = record.slot(slot).tries_granted;
        format!(
            "commits when {checks}, else starts again{when}; after trial {last} it returns to {back}"
        )
    }
}

/// `45s`, `4m10s`, `2h5m`.
fn duration(left: Duration) -> String {
    let seconds = left.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

fn next_boot(record: &Record, choice: Choice, why: Why) -> String {
    let what = match choice {
        Choice::Slot(slot) => format!("slot {slot} {}", record.slot(slot).release.version),
        Choice::Recovery => "recovery".to_owned(),
    };
    let because = match why {
        Why::Default => "the default",
        Why::Trial => "on trial",
        Why::OneShot => "asked for, for one boot",
        Why::Fallback => "as the fallback",
        Why::Requested => "asked for",
        Why::NothingBootable => "since no slot can be started",
    };
    format!("the next boot starts {what}, {because}")
}

fn status_words(state: &SlotState) -> String {
    match state.status {
        SlotStatus::Unbootable => "Unbootable".to_owned(),
        SlotStatus::Pending { tries_left } => format!("Pending, {tries_left} tries left"),
        SlotStatus::Good { budget_left } => format!("Good, budget {budget_left}"),
    }
}

/// `a`, `b` or `recovery`.
#[must_use]
pub const fn choice_word(choice: Choice) -> &'static str {
    match choice {
        Choice::Slot(Slot::A) => "a",
        Choice::Slot(Slot::B) => "b",
        Choice::Recovery => "recovery",
    }
}

/// The word for a reason to start something, as in JSON.
#[must_use]
pub const fn why_word(why: Why) -> &'static str {
    match why {
        Why::Default => "default",
        Why::Trial => "trial",
        Why::OneShot => "one-shot",
        Why::Fallback => "fallback",
        Why::Requested => "requested",
        Why::NothingBootable => "nothing-bootable",
    }
}

/// The JSON object of [`Status::json`].
#[derive(Clone, Debug, Serialize)]
pub struct Json {
    schema: &'static str,
    sentence: String,
    booted: Option<Booted>,
    next: Option<Next>,
    default: Option<char>,
    one_shot: Option<&'static str>,
    floor: Option<u64>,
    compatible: Option<String>,
    record_seq: Option<u64>,
    disk_guid: Option<String>,
    slots: Vec<SlotJson>,
    failure: Option<FailureJson>,
    health: Option<HealthJson>,
    secure_boot: Option<&'static str>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct HealthJson {
    checks: usize,
    seconds_left: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Booted {
    choice: &'static str,
    why: &'static str,
    left: u8,
}

#[derive(Clone, Debug, Serialize)]
struct Next {
    choice: &'static str,
    why: &'static str,
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
        let SlotState {
            tries_granted,
            release,
            ..
        } = state;
        Self {
            slot: slot.letter(),
            status,
            left,
            tries_granted: *tries_granted,
            reason: (state.status == SlotStatus::Unbootable).then(|| state.reason.words()),
            version: release.version.to_string(),
            rollback_index: release.rollback_index,
            manifest_sha256: release
                .manifest_sha256
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }
}

/// A [`Failure`] as JSON, also printed by `why --json`.
#[derive(Clone, Debug, Serialize)]
pub struct FailureJson {
    slot: char,
    version: String,
    launches: u32,
    tries_granted: u8,
    stage: &'static str,
    reason: &'static str,
    last_words: Option<String>,
    time: u64,
    sentence: String,
}

impl FailureJson {
    /// The JSON object for a failure. *Pure.*
    #[must_use]
    pub fn new(failure: &Failure) -> Self {
        Self {
            slot: failure.slot.letter(),
            version: failure.version.clone(),
            launches: failure.launches,
            tries_granted: failure.granted,
            stage: failure.stage.word(),
            reason: failure.reason.words(),
            last_words: failure.last_words.clone(),
            time: failure.time,
            sentence: failure.to_string(),
        }
    }
}
