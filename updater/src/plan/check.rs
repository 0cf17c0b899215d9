//! Whether a bundle is worth applying: the question of whoever updates by itself. Pure.

use super::{Facts, Refusal, identity, plan};
use bundle::Release;
use record::{Choice, Reason, Slot, Status};

/// What a bundle is to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its rollback index is higher than that of the running release, or it is another release with
    /// the same one.
    Newer,
    /// It runs.
    Same,
    /// It waits in a slot for its trial.
    Waiting(Slot),
    /// It was tried in a slot, and failed.
    Failed(Slot, Reason),
    /// It lies in a slot that is not run, since somebody went back from it or marked it bad.
    Left(Slot),
    /// Its rollback index is lower than that of the running release.
    Older,
    /// It cannot be applied.
    Refused(Refusal),
}

impl Verdict {
    /// The word in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Same => "same",
            Self::Waiting(_) => "waiting",
            Self::Failed(..) => "failed",
            Self::Left(_) => "left",
            Self::Older => "older",
            Self::Refused(_) => "refused",
        }
    }
}

/// What runs, or would if the machine were started: a slot, or nothing where neither can be.
#[must_use]
pub fn running(facts: &Facts<'_>) -> Slot {
    match facts.booted {
        Choice::Slot(slot) => slot,
        Choice::Recovery => facts.record.default,
    }
}

/// What `release` is to the machine. *Pure.*
#[must_use]
pub fn verdict(facts: &Facts<'_>, release: &Release) -> Verdict {
    let offered = identity(release);
    let slot = running(facts);
    let [runs, other] = [slot, slot.other()].map(|slot| facts.record.slot(slot));
    let runs_now = runs.release == offered && runs.status != Status::Unbootable;
    if runs_now {
        return Verdict::Same;
    }
    if other.release == offered {
        match (other.status, other.reason) {
            (Status::Pending { .. }, _) => return Verdict::Waiting(slot.other()),
            (Status::Good { .. }, _) if offered.rollback_index >= runs.release.rollback_index => {
                return Verdict::Left(slot.other());
            }
            (Status::Unbootable, Reason::MarkedBad | Reason::RolledBack) => {
                return Verdict::Left(slot.other());
            }
            // Nothing was tried: the writing was cut off, or it is too old by now, which the plan
            // finds out.
            (
                Status::Unbootable,
                Reason::None
                | Reason::Empty
                | Reason::Updating
                | Reason::Revoked
                | Reason::BelowFloor,
            )
            | (Status::Good { .. }, _) => {}
            (Status::Unbootable, reason) => return Verdict::Failed(slot.other(), reason),
        }
    }
    match plan(facts, release) {
        Err(refusal) => Verdict::Refused(refusal),
        Ok(_) if offered.rollback_index < runs.release.rollback_index => Verdict::Older,
        Ok(_) => Verdict::Newer,
    }
}
