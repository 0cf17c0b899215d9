//! The decision of unattended updates whether a bundle is worth applying. *Pure.*

use super::{Facts, Refusal, identity, plan};
use bundle::Release;
use record::{Choice, Reason, Slot, Status};

/// A bundle compared with the releases of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is another release than the running one, and its rollback index is not lower.
    Newer,
    /// It is the running release.
    Same,
    /// It is in a slot and waits for its first boot.
    Waiting(Slot),
    /// It is in a slot and failed there.
    Failed(Slot, Reason),
    /// It is in a slot, but an operator rolled it back or marked it bad.
    RolledBack(Slot),
    /// Its rollback index is lower than that of the running release.
    Older,
    /// It cannot be applied.
    Refused(Refusal),
}

impl Verdict {
    /// Returns the word in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Same => "same",
            Self::Waiting(_) => "waiting",
            Self::Failed(..) => "failed",
            Self::RolledBack(_) => "rolled-back",
            Self::Older => "older",
            Self::Refused(_) => "refused",
        }
    }
}

/// Returns the running slot; if none runs, the default slot.
#[must_use]
pub fn running(facts: &Facts<'_>) -> Slot {
    match facts.booted {
        Choice::Slot(slot) => slot,
        Choice::Recovery => facts.record.default,
    }
}

/// Compares `release` with the releases of the machine.
#[must_use]
pub fn verdict(facts: &Facts<'_>, release: &Release) -> Verdict {
    let offered = identity(release);
    let slot = running(facts);
    let [runs, other] = [slot, slot.other()].map(|slot| facts.record.slot(slot));
    if runs.release == offered && runs.status != Status::Unbootable {
        return Verdict::Same;
    }
    if other.release == offered {
        match (other.status, other.reason) {
            (Status::Pending { .. }, _) => return Verdict::Waiting(slot.other()),
            (Status::Good { .. }, _) if offered.rollback_index >= runs.release.rollback_index => {
                return Verdict::RolledBack(slot.other());
            }
            (Status::Unbootable, Reason::MarkedBad | Reason::RolledBack) => {
                return Verdict::RolledBack(slot.other());
            }
            // It was never tried: the apply was interrupted, or it is too old by now, which the
            // plan finds.
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
