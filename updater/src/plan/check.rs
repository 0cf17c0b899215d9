//! The decision of unattended updates whether a bundle is worth applying. *Pure.*

use super::{Facts, Refusal, identity, plan};
use bundle::Release;
use record::{Choice, Reason, Record, Release as RecordRelease, Slot, Status};

/// A bundle, the release that it is compared with, and the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The result.
    pub verdict: Verdict,
    /// The release of the bundle.
    pub offered: RecordRelease,
    /// The running release; if none runs, that of the default slot.
    pub running: RecordRelease,
}

impl Comparison {
    /// Compares `release` with the releases of the machine. *Pure.*
    #[must_use]
    pub fn of(facts: &Facts<'_>, release: &Release) -> Self {
        Self {
            verdict: verdict(facts, release),
            offered: identity(release),
            running: facts.record.slot(running(facts)).release,
        }
    }

    /// Returns the result as a sentence without a full stop. *Pure.*
    #[must_use]
    pub fn sentence(&self) -> String {
        let offered = self.offered.version;
        match &self.verdict {
            Verdict::Newer => format!("{offered} is newer than {}", self.running.version),
            Verdict::Same => format!("{offered} runs already"),
            Verdict::Waiting(slot) => {
                format!("{offered} waits in slot {slot} for its first boot")
            }
            Verdict::Failed(slot, reason) => {
                format!("{offered} failed in slot {slot}: {}", reason.words())
            }
            Verdict::RolledBack(slot) => format!(
                "{offered} is in slot {slot}, but an operator rolled it back or marked it bad"
            ),
            Verdict::Older(than) => format!("{offered} is older than {}", than.version),
            Verdict::Other(than) => format!(
                "{offered} is another release than {}, with the same rollback index, so it is not \
                 newer",
                than.version
            ),
            Verdict::Refused(refusal) => format!("{offered} cannot be applied: {refusal}"),
        }
    }
}

/// A bundle compared with the releases of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its rollback index is higher than that of the running release, of the default slot, and of
    /// a release that waits for its first boot.
    Newer,
    /// It is the running release.
    Same,
    /// It is in a slot and waits for its first boot.
    Waiting(Slot),
    /// It is in a slot and failed there.
    Failed(Slot, Reason),
    /// It is in a slot, but an operator rolled it back or marked it bad.
    RolledBack(Slot),
    /// Its rollback index is lower than that of this release of the machine.
    Older(RecordRelease),
    /// It is another release than this one of the machine, with the same rollback index.
    Other(RecordRelease),
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
            Self::Older(_) => "older",
            Self::Other(_) => "other",
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

/// Returns the newest release that an offered one must be newer than: those that run, boot by
/// default, or wait for their first boot.
fn newest(record: &Record, running: Slot) -> RecordRelease {
    let counts = |slot: &Slot| {
        let state = record.slot(*slot);
        let waits = matches!(state.status, Status::Pending { .. });
        let is_default = *slot == record.default && state.status != Status::Unbootable;
        *slot == running || waits || is_default
    };
    // The running slot last: of several equal ones, it is the one to name.
    [running.other(), running]
        .into_iter()
        .filter(counts)
        .map(|slot| record.slot(slot).release)
        .max_by_key(|release| release.rollback_index)
        .unwrap_or_else(|| record.slot(running).release)
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
    let newest = newest(facts.record, slot);
    match plan(facts, release) {
        Err(refusal) => Verdict::Refused(refusal),
        Ok(_) if offered.rollback_index < newest.rollback_index => Verdict::Older(newest),
        Ok(_) if offered.rollback_index == newest.rollback_index && offered != newest => {
            Verdict::Other(newest)
        }
        Ok(_) => Verdict::Newer,
    }
}
