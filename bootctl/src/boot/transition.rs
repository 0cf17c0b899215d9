//! Pure state transitions of the boot record, and the reasons to refuse one. Each takes a record
//! and returns the new one, which [`crate::state::store::RecordStore::write`] puts on the disk.

use record::{Choice, GOOD_BUDGET, Reason, Record, Release, Slot, SlotState, Status};

/// Maximum number of tries that a release can be granted.
pub const MAX_TRIES: u8 = 15;

/// Boot budget of a Good slot that was excused or re-armed. It is less than a commit grants: such a
/// slot has not committed in this boot, so its fallback must not be overwritten.
pub const EXCUSED_BUDGET: u8 = GOOD_BUDGET - 1;

/// Why a transition is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The slot is running.
    #[error("slot {0} is the booted slot")]
    Booted(Slot),
    /// The running system has not committed in this boot, and the other slot is its only fallback.
    #[error("slot {booted} has not committed in this boot: slot {fallback} is its only fallback")]
    OnlyFallback {
        /// Running, on trial or Good.
        booted: Slot,
        /// Good, and wanted as the target.
        fallback: Slot,
    },
    /// The slot is not running, but the next boot starts it.
    #[error(
        "slot {0} is the default slot, but another slot runs: restart or roll back before an update"
    )]
    IsDefault(Slot),
    /// The slot was not disarmed before it was activated.
    #[error("slot {0} is not disarmed")]
    NotDisarmed(Slot),
    /// A release must be granted 1 to [`MAX_TRIES`] tries.
    #[error("{0} tries, expected 1 to {MAX_TRIES}")]
    Tries(u8),
    /// The rollback index of the release is below the floor.
    #[error("rollback index {index} is below the floor {floor}")]
    BelowFloor {
        /// Of the release.
        index: u64,
        /// Of the machine.
        floor: u64,
    },
    /// Only keys below the trust floor signed the release.
    #[error("signed by keys of key epoch {epoch}, this machine accepts {floor} or higher")]
    Withdrawn {
        /// The highest key epoch that accepts the release.
        epoch: u64,
        /// The trust floor of the machine.
        floor: u64,
    },
    /// The slot cannot be started.
    #[error("slot {slot} cannot be started: {}", reason.words())]
    NotBootable {
        /// The slot.
        slot: Slot,
        /// Why it cannot be started.
        reason: Reason,
    },
    /// The slot holds a release that never committed, so the machine cannot return to it.
    #[error("slot {0} holds a release that never committed")]
    NotCommitted(Slot),
    /// Only a slot that is Good can be repaired and be Good afterwards.
    #[error("slot {0} is not Good: apply the bundle to it instead of repairing it")]
    NotGood(Slot),
    /// Only a slot whose boot budget ran out can be armed again.
    #[error("slot {slot} was not given up for its boot budget: {}", reason.words())]
    NotExhausted {
        /// The slot.
        slot: Slot,
        /// Why it cannot be started.
        reason: Reason,
    },
    /// Recovery is running, and recovery is never committed.
    #[error("recovery is running, not a slot")]
    NotASlot,
    /// No other slot could be started instead.
    #[error("slot {0} is the last one that can be started")]
    LastBootable(Slot),
}

/// The slot that an update writes to. It is never the booted slot, nor the only fallback of a
/// booted slot that has not committed in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetSlot(Slot);

impl TargetSlot {
    /// Returns the target for a system that was booted as `booted`. *Pure.* For a slot it is the
    /// other one; for recovery a slot that cannot be started, else the one that is not the default.
    ///
    /// # Errors
    /// [`Refusal::IsDefault`], [`Refusal::OnlyFallback`].
    pub fn choose(record: &Record, booted: Choice) -> Result<Self, Refusal> {
        let slot = match booted {
            Choice::Slot(slot) => slot.other(),
            Choice::Recovery if !record.slot(record.default).is_bootable() => record.default,
            Choice::Recovery => record.default.other(),
        };
        Self::of(record, booted, slot)
    }

    /// Returns `slot` as the target, if an update may write to it. *Pure.*
    ///
    /// # Errors
    /// [`Refusal::Booted`], [`Refusal::IsDefault`], [`Refusal::OnlyFallback`].
    pub fn of(record: &Record, booted: Choice, slot: Slot) -> Result<Self, Refusal> {
        match booted {
            Choice::Slot(booted) if booted == slot => Err(Refusal::Booted(slot)),
            Choice::Slot(booted)
                if record.slot(slot).is_good() && !has_committed(record.slot(booted)) =>
            {
                Err(Refusal::OnlyFallback {
                    booted,
                    fallback: slot,
                })
            }
            Choice::Slot(_) if slot == record.default && record.slot(slot).is_bootable() => {
                Err(Refusal::IsDefault(slot))
            }
            _ => Ok(Self(slot)),
        }
    }

    /// Returns the slot. *Pure.*
    #[must_use]
    pub const fn slot(self) -> Slot {
        self.0
    }
}

/// Returns whether the booted slot was committed after it was started: the guard takes one from its
/// boot budget, and a commit refills the budget. While a Good slot fails to reach commit, its
/// fallback must not be overwritten.
fn has_committed(booted: &SlotState) -> bool {
    booted.status
        == Status::Good {
            budget_left: GOOD_BUDGET,
        }
}

/// Returns the record in which `target` is Unbootable, so that it can be written to. *Pure.* If the
/// target was the default, the other slot becomes the default, unless that is Unbootable.
#[must_use]
pub fn disarm(record: &Record, target: TargetSlot) -> Record {
    retire(record, target.slot(), Reason::Updating)
}

/// A release to put on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The release.
    pub release: Release,
    /// Its commit makes older releases unbootable.
    pub revoke: bool,
    /// The key epochs that accept it and what else is on the disk.
    pub epochs: TrustEpochs,
    /// Tries that it is granted.
    pub tries: u8,
}

/// The highest key epochs that accept the seals on a disk. `None` keeps what is in the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustEpochs {
    /// Of the target slot.
    pub target: u64,
    /// Of the other slot.
    pub other: Option<u64>,
    /// Of recovery.
    pub recovery: Option<u64>,
}

/// Returns the record in which a release is on trial in `target`. *Pure.* The release must be
/// complete and read back.
///
/// # Errors
/// [`Refusal::NotDisarmed`], [`Refusal::BelowFloor`], [`Refusal::Withdrawn`], [`Refusal::Tries`].
pub fn activate(record: &Record, target: TargetSlot, trial: Trial) -> Result<Record, Refusal> {
    let Trial {
        release,
        revoke,
        epochs,
        tries,
    } = trial;
    let slot = target.slot();
    let state = record.slot(slot);
    if state.status != Status::Unbootable {
        return Err(Refusal::NotDisarmed(slot));
    }
    if !(1..=MAX_TRIES).contains(&tries) {
        return Err(Refusal::Tries(tries));
    }
    if release.rollback_index < record.floor {
        return Err(Refusal::BelowFloor {
            index: release.rollback_index,
            floor: record.floor,
        });
    }
    check_epoch(epochs.target, record)?;
    let status = Status::Pending { tries_left: tries };
    let state = SlotState {
        status,
        reason: Reason::None,
        tries_granted: tries,
        revoke,
        release,
        trust_epoch: epochs.target,
        ..*state
    };
    let other = *record.slot(slot.other());
    let other = SlotState {
        trust_epoch: epochs.other.unwrap_or(other.trust_epoch),
        ..other
    };
    let record = Record {
        recovery_epoch: epochs.recovery.unwrap_or(record.recovery_epoch),
        ..*record
    };
    Ok(record.with_slot(slot, state).with_slot(slot.other(), other))
}

const fn check_epoch(epoch: u64, record: &Record) -> Result<(), Refusal> {
    let floor = record.trust_floor;
    if epoch < floor {
        return Err(Refusal::Withdrawn { epoch, floor });
    }
    Ok(())
}

/// Returns the record in which the running release is declared good. *Pure.*
///
/// A release on trial becomes Good and the default. The floor rises to the lowest rollback index of
/// the slots that are not Unbootable, or to its own if it revokes older releases, which then become
/// Unbootable. The trust floor likewise rises to the lowest key epoch that these slots and recovery
/// need, or to that of the release if it revokes: then recovery may be refused until it is written
/// again. For a release that is Good already only the boot budget is refilled, and its slot
/// becomes the default if the default cannot be started.
///
/// # Errors
/// [`Refusal::NotASlot`] in recovery; [`Refusal::NotBootable`] if the slot was marked bad or rolled
/// back.
pub fn commit(record: &Record, booted: Choice) -> Result<Record, Refusal> {
    let Choice::Slot(slot) = booted else {
        return Err(Refusal::NotASlot);
    };
    let state = *record.slot(slot);
    let good = SlotState {
        status: Status::Good {
            budget_left: GOOD_BUDGET,
        },
        ..state
    };
    match state.status {
        Status::Unbootable => Err(Refusal::NotBootable {
            slot,
            reason: state.reason,
        }),
        Status::Good { .. } => {
            let default = if record.slot(record.default).is_bootable() {
                record.default
            } else {
                slot
            };
            Ok(Record {
                default,
                ..record.with_slot(slot, good)
            })
        }
        Status::Pending { .. } => {
            let revoke = state.revoke;
            let record = Record {
                default: slot,
                ..record.with_slot(
                    slot,
                    SlotState {
                        revoke: false,
                        ..good
                    },
                )
            };
            Ok(raise_floor(record, slot, revoke))
        }
    }
}

fn raise_floor(record: Record, committed: Slot, revoke: bool) -> Record {
    let own = record.slot(committed);
    let other = record.slot(committed.other());
    let (own_index, own_epoch) = (own.release.rollback_index, own.trust_epoch);
    let is_fallback = other.status != Status::Unbootable;
    let (index, epoch) = if revoke {
        (own_index, own_epoch)
    } else if is_fallback {
        // The floors must not rule it out.
        let index = own_index.min(other.release.rollback_index);
        let epoch = own_epoch.min(other.trust_epoch).min(record.recovery_epoch);
        (index, epoch)
    } else {
        (own_index, own_epoch.min(record.recovery_epoch))
    };
    let floor = record.floor.max(index);
    let trust_floor = record.trust_floor.max(epoch);
    let is_old = other.release.rollback_index < floor || other.trust_epoch < trust_floor;
    let ruled_out = is_fallback && is_old;
    let record = Record {
        floor,
        trust_floor,
        ..record
    };
    if ruled_out {
        retire(&record, committed.other(), Reason::Revoked)
    } else {
        record
    }
}

/// Returns the record in which `target`, which is Good, is Unbootable while damaged chunks of it
/// are written again. *Pure.* If its repair has begun already, the record does not change.
///
/// # Errors
/// [`Refusal::NotGood`].
pub fn begin_repair(record: &Record, target: TargetSlot) -> Result<Record, Refusal> {
    let state = record.slot(target.slot());
    match (state.status, state.reason) {
        (Status::Unbootable, Reason::Repairing) => Ok(*record),
        (Status::Good { .. }, _) => Ok(retire(record, target.slot(), Reason::Repairing)),
        _ => Err(Refusal::NotGood(target.slot())),
    }
}

/// Returns the record in which `target`, repaired and read back, is Good again. *Pure.* It does not
/// become the default.
///
/// # Errors
/// [`Refusal::NotGood`] if its repair was not begun, [`Refusal::BelowFloor`],
/// [`Refusal::Withdrawn`].
pub fn end_repair(record: &Record, target: TargetSlot) -> Result<Record, Refusal> {
    let slot = target.slot();
    let state = *record.slot(slot);
    let index = state.release.rollback_index;
    if (state.status, state.reason) != (Status::Unbootable, Reason::Repairing) {
        return Err(Refusal::NotGood(slot));
    }
    if index < record.floor {
        return Err(Refusal::BelowFloor {
            index,
            floor: record.floor,
        });
    }
    check_epoch(state.trust_epoch, record)?;
    let status = Status::Good {
        budget_left: GOOD_BUDGET,
    };
    Ok(record.with_slot(
        slot,
        SlotState {
            status,
            reason: Reason::None,
            ..state
        },
    ))
}

/// Returns the record after an operator rolled back from `booted` to the other slot. *Pure.* A
/// release on trial becomes Unbootable; a Good one stays as the fallback. In recovery, the other
/// slot replaces the default.
///
/// # Errors
/// [`Refusal::NotBootable`] if the other slot cannot be started, [`Refusal::NotCommitted`] if it is
/// on trial.
pub fn rollback(record: &Record, booted: Choice) -> Result<Record, Refusal> {
    let from = match booted {
        Choice::Slot(slot) => slot,
        Choice::Recovery => record.default,
    };
    let to = from.other();
    let state = record.slot(to);
    if !state.is_bootable() {
        return Err(Refusal::NotBootable {
            slot: to,
            reason: state.reason,
        });
    }
    if !state.is_good() {
        return Err(Refusal::NotCommitted(to));
    }
    let record = Record {
        default: to,
        one_shot: None,
        ..*record
    };
    Ok(if record.slot(from).is_good() {
        record
    } else {
        retire(&record, from, Reason::RolledBack)
    })
}

/// Returns the record that requests `choice` for the next boot only. *Pure.*
///
/// # Errors
/// [`Refusal::NotBootable`] for a slot that cannot be started.
pub fn boot_once(record: &Record, choice: Choice) -> Result<Record, Refusal> {
    if let Choice::Slot(slot) = choice {
        let state = record.slot(slot);
        if !state.is_bootable() {
            return Err(Refusal::NotBootable {
                slot,
                reason: state.reason,
            });
        }
    }
    Ok(Record {
        one_shot: Some(choice),
        ..*record
    })
}

/// Returns the record in which an operator marked `slot` bad. *Pure.* A slot that is being written
/// is Unbootable already; marking it bad ends the update or repair.
///
/// # Errors
/// [`Refusal::LastBootable`] if only recovery would be left.
pub fn mark_bad(record: &Record, slot: Slot) -> Result<Record, Refusal> {
    let state = record.slot(slot);
    if state.status == Status::Unbootable
        && matches!(state.reason, Reason::Updating | Reason::Repairing)
    {
        return Ok(retire(record, slot, Reason::MarkedBad));
    }
    if !state.is_bootable() {
        return Ok(*record);
    }
    if !record.slot(slot.other()).is_bootable() {
        return Err(Refusal::LastBootable(slot));
    }
    Ok(retire(record, slot, Reason::MarkedBad))
}

/// Returns the record in which `slot` is Good again after its boot budget ran out. *Pure.* It becomes
/// the default if the default cannot be started. A slot that can be started does not change.
///
/// The release has committed before: an exhausted budget shows that it did not reach its commit, not
/// that it is another one.
///
/// # Errors
/// [`Refusal::NotExhausted`] if it is Unbootable for another reason, [`Refusal::BelowFloor`].
pub fn rearm(record: &Record, slot: Slot) -> Result<Record, Refusal> {
    let state = *record.slot(slot);
    if state.is_bootable() {
        return Ok(*record);
    }
    if (state.status, state.reason) != (Status::Unbootable, Reason::BudgetExhausted) {
        let reason = state.reason;
        return Err(Refusal::NotExhausted { slot, reason });
    }
    let index = state.release.rollback_index;
    if index < record.floor {
        let floor = record.floor;
        return Err(Refusal::BelowFloor { index, floor });
    }
    let good = SlotState {
        status: Status::Good {
            budget_left: EXCUSED_BUDGET,
        },
        reason: Reason::None,
        ..state
    };
    let default = if record.slot(record.default).status == Status::Unbootable {
        slot
    } else {
        record.default
    };
    Ok(Record {
        default,
        ..record.with_slot(slot, good)
    })
}

/// Returns the record in which the boots that `booted` did not commit no longer count. *Pure.*
///
/// It is for a Good release that runs but waits for its health checks, often for something outside
/// the machine. Nothing else changes: a trial, recovery, and a slot that was given up stay.
#[must_use]
pub fn excuse(record: &Record, booted: Choice) -> Record {
    let Choice::Slot(slot) = booted else {
        return *record;
    };
    let state = *record.slot(slot);
    match state.status {
        Status::Good { budget_left } if budget_left < EXCUSED_BUDGET => {
            let status = Status::Good {
                budget_left: EXCUSED_BUDGET,
            };
            record.with_slot(slot, SlotState { status, ..state })
        }
        _ => *record,
    }
}

/// Returns the record in which `slot` is Unbootable, and neither the default (if possible) nor
/// requested.
fn retire(record: &Record, slot: Slot, reason: Reason) -> Record {
    // Not `is_bootable`: the other slot may be running with an empty budget, which its commit will
    // refill.
    let is_other_usable = record.slot(slot.other()).status != Status::Unbootable;
    let default = if record.default == slot && is_other_usable {
        slot.other()
    } else {
        record.default
    };
    let one_shot = record
        .one_shot
        .filter(|choice| *choice != Choice::Slot(slot));
    Record {
        default,
        one_shot,
        ..record.with_slot(slot, record.slot(slot).unbootable(reason))
    }
}
