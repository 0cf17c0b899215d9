//! The decision of the boot guard: from a record to what is started next, and to the record that
//! must be on the disk before that.

use crate::record::{Choice, Reason, Record, Slot, SlotState, Status};

/// What the way in which the guard was started asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Nothing in particular: the record decides.
    Plain,
    /// Recovery, by its boot entry or by a key held at start.
    Recovery,
}

/// Candidates that were started in this run of the guard and came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tried {
    slots: [bool; 2],
    recovery: bool,
}

impl Tried {
    /// The same with `choice` added. *Pure.*
    #[must_use]
    pub const fn with(self, choice: Choice) -> Self {
        let [a, b] = self.slots;
        match choice {
            Choice::Slot(Slot::A) => Self {
                slots: [true, b],
                ..self
            },
            Choice::Slot(Slot::B) => Self {
                slots: [a, true],
                ..self
            },
            Choice::Recovery => Self {
                recovery: true,
                ..self
            },
        }
    }

    /// Whether `choice` was started already.
    #[must_use]
    pub const fn has(&self, choice: Choice) -> bool {
        let [a, b] = self.slots;
        match choice {
            Choice::Slot(Slot::A) => a,
            Choice::Slot(Slot::B) => b,
            Choice::Recovery => self.recovery,
        }
    }
}

/// Why this candidate is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// It is the default slot.
    Default = 1,
    /// It is a release on trial.
    Trial = 2,
    /// Someone asked for this one boot.
    OneShot = 3,
    /// The default slot cannot be started, and this is the other one.
    Fallback = 4,
    /// Recovery was asked for.
    Requested = 5,
    /// No slot can be started: recovery.
    NothingBootable = 6,
}

impl Why {
    /// The reason with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Default),
            2 => Some(Self::Trial),
            3 => Some(Self::OneShot),
            4 => Some(Self::Fallback),
            5 => Some(Self::Requested),
            6 => Some(Self::NothingBootable),
            _ => None,
        }
    }
}

/// What the guard does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write `record` if it differs from the one on disk, flush, then load `choice`.
    Launch {
        /// What to start.
        choice: Choice,
        /// Why.
        why: Why,
        /// What must be on the disk before anything is loaded: the try is spent in it.
        record: Record,
    },
    /// Nothing is left to try: write `record` if it differs, and return an error to the firmware,
    /// so that it goes on to the next entry or medium.
    GiveUp {
        /// What must be on the disk.
        record: Record,
    },
}

/// Decides what to start. *Pure.*
///
/// In this order: the one-shot request, recovery if it was asked for, a slot on trial, the default
/// slot, the other slot, recovery. A slot without tries or budget left becomes Unbootable on the
/// way. `tried` are those that came back in this run; none of them is chosen again.
#[must_use]
pub fn decide(record: &Record, request: Request, tried: Tried) -> Decision {
    let mut record = exhaust(*record);
    if let Some(choice) = record.one_shot.take()
        && !tried.has(choice)
        && startable(&record, choice)
    {
        return launch(record, choice, Why::OneShot);
    }
    if request == Request::Recovery && !tried.has(Choice::Recovery) {
        return launch(record, Choice::Recovery, Why::Requested);
    }
    let default = record.default;
    let on_trial = |slot: &Slot| matches!(record.slot(*slot).status, Status::Pending { .. });
    let trials = [default.other(), default]
        .into_iter()
        .filter(on_trial)
        .map(|slot| (slot, Why::Trial));
    let order = [(default, Why::Default), (default.other(), Why::Fallback)];
    let next = trials
        .chain(order)
        .map(|(slot, why)| (Choice::Slot(slot), why))
        .find(|(choice, _)| !tried.has(*choice) && startable(&record, *choice));
    match next {
        Some((choice, why)) => launch(record, choice, why),
        None if tried.has(Choice::Recovery) => Decision::GiveUp { record },
        None => launch(record, Choice::Recovery, Why::NothingBootable),
    }
}

/// The record after the guard failed to load or start `slot`. *Pure.*
///
/// What a retry cannot mend (a damaged header or image, a signature that is not accepted) makes the
/// slot Unbootable at once; a read error, a refusal by the firmware or a return may be passing, and
/// cost only the try that was spent.
#[must_use]
pub fn passed_over(record: &Record, slot: Slot, reason: Reason) -> Record {
    let lasting = matches!(
        reason,
        Reason::HeaderDamaged
            | Reason::SignatureRefused
            | Reason::ImageDamaged
            | Reason::OtherRelease
            | Reason::BelowFloor
    );
    if lasting {
        record.with_slot(slot, record.slot(slot).unbootable(reason))
    } else {
        *record
    }
}

fn startable(record: &Record, choice: Choice) -> bool {
    match choice {
        Choice::Slot(slot) => record.slot(slot).is_bootable(),
        Choice::Recovery => true,
    }
}

fn launch(record: Record, choice: Choice, why: Why) -> Decision {
    let record = match choice {
        Choice::Slot(slot) => record.with_slot(slot, spend(record.slot(slot))),
        Choice::Recovery => record,
    };
    Decision::Launch {
        choice,
        why,
        record,
    }
}

fn spend(slot: &SlotState) -> SlotState {
    let status = match slot.status {
        Status::Unbootable => Status::Unbootable,
        Status::Pending { tries_left } => Status::Pending {
            tries_left: tries_left.saturating_sub(1),
        },
        Status::Good { budget_left } => Status::Good {
            budget_left: budget_left.saturating_sub(1),
        },
    };
    SlotState { status, ..*slot }
}

/// Makes Unbootable whatever has nothing left to spend.
fn exhaust(record: Record) -> Record {
    Slot::ALL.into_iter().fold(record, |record, slot| {
        let state = record.slot(slot);
        match state.status {
            Status::Pending { tries_left: 0 } => {
                record.with_slot(slot, state.unbootable(Reason::TriesExhausted))
            }
            Status::Good { budget_left: 0 } => {
                record.with_slot(slot, state.unbootable(Reason::BudgetExhausted))
            }
            _ => record,
        }
    })
}
