//! The decision of the boot guard: what to start next, and which record must be on the disk before
//! that.

use crate::reason::Reason;
use crate::record::Record;
use crate::slot::{Choice, Slot};
use crate::slot_state::{SlotState, Status};

/// Request by the boot entry or the key by which the guard was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// None: the record decides.
    Plain,
    /// Recovery, by its boot entry or by a key held at start.
    Recovery,
}

/// Candidates that failed in this run of the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tried {
    slots: [bool; 2],
    recovery: bool,
}

impl Tried {
    /// Returns the candidates with `choice` added. *Pure.*
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

    /// Returns whether `choice` has failed. *Pure.*
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

/// Why a candidate is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// It is the default slot.
    Default = 1,
    /// Its release is on trial.
    Trial = 2,
    /// It was requested for this boot only.
    OneShot = 3,
    /// The default slot cannot be started, and this is the other one.
    Fallback = 4,
    /// Recovery was requested.
    Requested = 5,
    /// No slot can be started.
    NothingBootable = 6,
}

impl Why {
    /// Returns the reason with this number. *Pure.*
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
    /// Write `record` if it differs from the one on the disk, flush, then load `choice`.
    Launch {
        /// What to start.
        choice: Choice,
        /// Why it is started.
        why: Why,
        /// The record that must be on the disk before anything is loaded. The try is spent in it.
        record: Record,
    },
    /// No candidate is left: write `record` if it differs, and return an error to the firmware,
    /// which then tries the next entry or medium.
    GiveUp {
        /// The record that must be on the disk.
        record: Record,
    },
}

/// Returns what to start next. *Pure.*
///
/// The order is: the one-shot request, recovery if it was requested, a slot on trial, the default
/// slot, the other slot, recovery. A slot without tries or budget left becomes Unbootable. The
/// candidates in `tried` failed in this run and are not chosen again.
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

/// Returns the record after the guard failed to load or start `slot`. *Pure.*
///
/// A permanent failure, such as a damaged header or image or a refused signature, makes the slot
/// Unbootable at once. A failure that may be temporary, such as a read error, a refusal by the
/// firmware or a return, costs only the try.
#[must_use]
pub fn passed_over(record: &Record, slot: Slot, reason: Reason) -> Record {
    let is_permanent = matches!(
        reason,
        Reason::HeaderDamaged
            | Reason::SignatureRefused
            | Reason::ImageDamaged
            | Reason::OtherRelease
            | Reason::BelowFloor
            | Reason::Withdrawn
    );
    if is_permanent {
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

/// Makes each slot Unbootable that has no try or budget left.
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
