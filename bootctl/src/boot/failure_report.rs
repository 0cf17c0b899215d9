//! Why a release is not running, put together from the boot record and the event ring. All of it is
//! pure.

use record::event::{Event, Kind};
use record::{Choice, Reason, Record, Slot, SlotState, Status, Text64};

/// The failure of a release: one that is not started any more, or one that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFailure {
    /// Slot that holds the release.
    pub slot: Slot,
    /// Version of the release.
    pub version: String,
    /// How often the guard started it.
    pub launches: u32,
    /// How many tries it was granted.
    pub granted: u8,
    /// The furthest stage that one of its boots reached.
    pub stage: BootStage,
    /// Why the slot is not started any more, or was passed over.
    pub reason: Reason,
    /// Its last output: the failed check and what it printed, or the log of a kernel panic.
    pub last_output: Option<String>,
    /// Time of its last event, in seconds since 1970 by the machine's clock; 0 if unknown.
    pub time: u64,
}

/// How far a boot came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootStage {
    /// The guard did not start it.
    NotStarted,
    /// The guard started it; it reported nothing.
    Launched,
    /// Its first program ran.
    Initramfs,
    /// Its root file system was mounted.
    RootMounted,
    /// Its services were started.
    Userspace,
    /// Its health checks ran, and not all passed.
    Health,
    /// It committed.
    Committed,
}

impl BootStage {
    /// Returns the word in JSON. *Pure.*
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Launched => "launched",
            Self::Initramfs => "initramfs",
            Self::RootMounted => "root-mounted",
            Self::Userspace => "userspace",
            Self::Health => "health",
            Self::Committed => "committed",
        }
    }

    /// Returns the words that complete "started 3 times, ...". *Pure.*
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotStarted => "never started",
            Self::Launched => "reported nothing",
            Self::Initramfs => "reached its initramfs",
            Self::RootMounted => "mounted its root file system",
            Self::Userspace => "started its services",
            Self::Health => "failed its health checks",
            Self::Committed => "committed once, then failed to reach commit again",
        }
    }

    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Launched => Self::Launched,
            Kind::Initramfs => Self::Initramfs,
            Kind::RootMounted => Self::RootMounted,
            Kind::Userspace => Self::Userspace,
            Kind::HealthFailed | Kind::DeadlinePassed => Self::Health,
            Kind::Committed => Self::Committed,
            _ => Self::NotStarted,
        }
    }
}

/// Returns the failure of the release in `slot`, if it failed. *Pure.* `events` are oldest first.
#[must_use]
pub fn failure(record: &Record, events: &[Event], slot: Slot) -> Option<BootFailure> {
    let state = record.slot(slot);
    if state.release.version == Text64::EMPTY {
        return None;
    }
    let events = events_of_release(state, events, slot);
    let latest = |is_wanted: fn(Kind) -> bool| {
        let mut newest_first = events.iter().rev();
        newest_first.find(|event| is_wanted(event.kind))
    };
    let reason = match state.status {
        Status::Unbootable if is_failure(state.reason) => state.reason,
        Status::Unbootable => return None,
        Status::Pending { .. } | Status::Good { .. } => {
            latest(|kind| kind == Kind::PassedOver)?.reason
        }
    };
    let last_output = latest(has_output).map(|event| event.text().trim().to_owned());
    let launches = events
        .iter()
        .filter(|event| event.kind == Kind::Launched)
        .count();
    let stages = events.iter().map(|event| BootStage::of(event.kind));
    Some(BootFailure {
        slot,
        version: state.release.version.to_string(),
        launches: u32::try_from(launches).unwrap_or(u32::MAX),
        granted: state.tries_granted,
        stage: stages.max().unwrap_or(BootStage::NotStarted),
        reason,
        last_output: last_output.filter(|text| !text.is_empty()),
        time: events.iter().map(|event| event.time).max().unwrap_or(0),
    })
}

const fn has_output(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::HealthFailed | Kind::DeadlinePassed | Kind::Panic
    )
}

/// Returns the failure that explains why `running` runs: that of the other slot, or for recovery
/// that of the default slot or else of the other one. *Pure.*
#[must_use]
pub fn explains(record: &Record, events: &[Event], running: Option<Choice>) -> Option<BootFailure> {
    if let Some(Choice::Slot(slot)) = running {
        return failure(record, events, slot.other());
    }
    failure(record, events, record.default)
        .or_else(|| failure(record, events, record.default.other()))
}

/// Returns the events of the slot's present release since it was activated.
fn events_of_release<'a>(state: &SlotState, events: &'a [Event], slot: Slot) -> Vec<&'a Event> {
    let is_about_it = |event: &&Event| {
        let version = event.version;
        event.subject == Some(Choice::Slot(slot))
            && (version == state.release.version || version == Text64::EMPTY)
    };
    let all: Vec<&Event> = events.iter().filter(is_about_it).collect();
    let activated = all.iter().rposition(|event| event.kind == Kind::Activated);
    all.into_iter().skip(activated.unwrap_or(0)).collect()
}

/// Returns whether the release failed. Otherwise it was ruled out on purpose, or the slot is empty.
const fn is_failure(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::None
            | Reason::Empty
            | Reason::Updating
            | Reason::MarkedBad
            | Reason::RolledBack
            | Reason::Revoked
            | Reason::BelowFloor
    )
}

impl std::fmt::Display for BootFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in slot {} failed: ", self.version, self.slot)?;
        if self.stage == BootStage::NotStarted {
            return f.write_str(self.reason.words());
        }
        match self.launches {
            1 => f.write_str("started once")?,
            launches => write!(f, "started {launches} times")?,
        }
        write!(f, ", {}, ", self.stage.words())?;
        f.write_str(match self.reason {
            Reason::TriesExhausted | Reason::BudgetExhausted => "no tries left",
            reason => reason.words(),
        })
    }
}
