//! Why a release is not running: its story, pieced together from the record and the event ring.
//! Pure.

use record::event::{Event, Kind};
use record::{Choice, Reason, Record, Slot, SlotState, Status, Text64};

/// What became of a release that was given up, or is on its way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Slot that holds it.
    pub slot: Slot,
    /// Its version.
    pub version: String,
    /// How often the guard started it.
    pub launches: u32,
    /// How often it may be started.
    pub granted: u8,
    /// The furthest that a start of it came.
    pub stage: Stage,
    /// Why the slot is not started any more, or was passed over.
    pub reason: Reason,
    /// What its last words were: the failed check and its output, or a panic.
    pub last_words: Option<String>,
    /// When the last start of it was, in seconds since 1970 by the machine's clock; 0 if unknown.
    pub time: u64,
}

/// How far a start came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The guard never handed over to it.
    Nowhere,
    /// The guard started it, and nothing was heard of it.
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

impl Stage {
    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::Launched => "launched",
            Self::Initramfs => "initramfs",
            Self::RootMounted => "root-mounted",
            Self::Userspace => "userspace",
            Self::Health => "health",
            Self::Committed => "committed",
        }
    }

    /// The words that complete "it ...".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nowhere => "was never started",
            Self::Launched => "never reported back",
            Self::Initramfs => "got as far as its initramfs",
            Self::RootMounted => "got as far as mounting its root file system",
            Self::Userspace => "got as far as its services",
            Self::Health => "came up, and its health checks did not pass",
            Self::Committed => "committed, and stopped reaching commit later",
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
            _ => Self::Nowhere,
        }
    }
}

/// The failure of the release in `slot`, if it failed. *Pure.* `events` are oldest first.
#[must_use]
pub fn failure(record: &Record, events: &[Event], slot: Slot) -> Option<Failure> {
    let state = record.slot(slot);
    if state.release.version == Text64::EMPTY {
        return None;
    }
    let events = life_of(state, events, slot);
    let passed_over = events
        .iter()
        .rev()
        .find(|event| event.kind == Kind::PassedOver)
        .map(|event| event.reason);
    let reason = match state.status {
        Status::Unbootable if is_failure(state.reason) => state.reason,
        Status::Unbootable => return None,
        Status::Pending { .. } | Status::Good { .. } => passed_over?,
    };
    let heard = |event: &&&Event| {
        matches!(
            event.kind,
            Kind::HealthFailed | Kind::DeadlinePassed | Kind::Panic
        )
    };
    let last_words = events
        .iter()
        .rev()
        .find(heard)
        .map(|event| event.text().trim().to_owned());
    Some(Failure {
        slot,
        version: state.release.version.to_string(),
        launches: events
            .iter()
            .filter(|event| event.kind == Kind::Launched)
            .count() as u32,
        granted: state.tries_granted,
        stage: events
            .iter()
            .map(|event| Stage::of(event.kind))
            .max()
            .unwrap_or(Stage::Nowhere),
        reason,
        last_words: last_words.filter(|text| !text.is_empty()),
        time: events.iter().map(|event| event.time).max().unwrap_or(0),
    })
}

/// The failure that explains why `running` runs: that of the other slot, else that of any.
#[must_use]
pub fn explains(record: &Record, events: &[Event], running: Option<Choice>) -> Option<Failure> {
    let (first, second) = match running {
        Some(Choice::Slot(slot)) => (slot.other(), None),
        _ => (record.default, Some(record.default.other())),
    };
    failure(record, events, first).or_else(|| failure(record, events, second?))
}

/// Events of the slot's present release, since it was activated.
fn life_of<'a>(state: &SlotState, events: &'a [Event], slot: Slot) -> Vec<&'a Event> {
    let about = |event: &&Event| {
        let version = event.version;
        event.subject == Some(Choice::Slot(slot))
            && (version == state.release.version || version == Text64::EMPTY)
    };
    let all: Vec<&Event> = events.iter().filter(about).collect();
    let activated = all.iter().rposition(|event| event.kind == Kind::Activated);
    all.into_iter().skip(activated.unwrap_or(0)).collect()
}

/// Whether the release failed, rather than having been taken out on purpose or not being there at
/// all.
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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            slot,
            version,
            launches,
            stage,
            reason,
            ..
        } = self;
        let times = if *launches == 1 {
            "once".to_owned()
        } else {
            format!("{launches} times")
        };
        write!(f, "{version} in slot {slot} failed: ")?;
        match (stage, reason) {
            (Stage::Nowhere, reason) => write!(f, "{}", reason.words()),
            (stage, Reason::TriesExhausted | Reason::BudgetExhausted) => {
                write!(
                    f,
                    "started {times}, it {} and used up its tries",
                    stage.words()
                )
            }
            (stage, reason) => write!(
                f,
                "started {times}, it {}; {}",
                stage.words(),
                reason.words()
            ),
        }
    }
}
