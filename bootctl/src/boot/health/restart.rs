//! What follows when a running release could not be committed.

use record::{Record, Slot, Why};

/// How the commit of a running release was prevented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A check was not ready until the deadline: it waits for something, often outside the machine.
    NotReady,
    /// A check failed.
    Failed,
    /// The checks passed, or could not run, but the record could not be read or written.
    Error,
}

/// What the running system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Restart: the guard starts this slot again, or another one.
    Restart,
    /// Run the checks again, with pauses, until they pass; then commit.
    Wait,
    /// Report it, and neither restart nor wait.
    Stay,
}

/// Returns what follows when the release in `booted` could not be committed. *Pure.* `record` is
/// `None` if it cannot be read; then `why`, for which the guard started it, shows whether it is
/// committed.
///
/// A trial restarts in any case: its tries end, and the machine returns to the other slot. A Good
/// slot has been proven, so a cause outside the machine must not use up its boot budget: it restarts
/// only after a check *failed*, and only if there is another slot to return to.
#[must_use]
pub fn after_failure(record: Option<&Record>, booted: Slot, why: Why, gate: Gate) -> AfterFailure {
    let is_good = record.map_or(matches!(why, Why::Default | Why::Fallback), |record| {
        record.slot(booted).is_good()
    });
    let has_other = record.is_some_and(|record| record.slot(booted.other()).is_bootable());
    match gate {
        _ if !is_good => AfterFailure::Restart,
        Gate::Failed if has_other => AfterFailure::Restart,
        Gate::Failed | Gate::NotReady => AfterFailure::Wait,
        // A disk that does not answer, or a copy of it that was plugged in, may be gone later.
        Gate::Error if record.is_none() => AfterFailure::Wait,
        // The guard may be unable to write as well, and then it counts no start: no end to this.
        Gate::Error => AfterFailure::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::gpt::Partitions;
    use record::{Reason, Status};

    /// A record with these statuses.
    fn record(a: Status, b: Status) -> Record {
        let record = Record::unused(&Partitions::default());
        let [state_a, state_b] = record.slots;
        let slots = [(state_a, a), (state_b, b)].map(|(state, status)| {
            let reason = Reason::None;
            record::SlotState {
                status,
                reason,
                ..state
            }
        });
        Record { slots, ..record }
    }

    const GOOD: Status = Status::Good { budget_left: 7 };
    const TRIAL: Status = Status::Pending { tries_left: 2 };

    #[test]
    fn a_trial_restarts_whatever_prevented_its_commit() {
        for gate in [Gate::NotReady, Gate::Failed, Gate::Error] {
            let trial = record(TRIAL, GOOD);
            assert_eq!(
                after_failure(Some(&trial), Slot::A, Why::Trial, gate),
                AfterFailure::Restart
            );
            assert_eq!(
                after_failure(None, Slot::A, Why::Trial, gate),
                AfterFailure::Restart
            );
            let marked_bad = record(Status::Unbootable, GOOD);
            let after = after_failure(Some(&marked_bad), Slot::A, Why::Default, gate);
            assert_eq!(after, AfterFailure::Restart);
        }
    }

    #[test]
    fn a_good_slot_waits_unless_a_check_failed_and_there_is_another_slot() {
        let both = record(GOOD, GOOD);
        let alone = record(GOOD, Status::Unbootable);
        let unreadable = after_failure(None, Slot::A, Why::Default, Gate::Error);
        assert_eq!(unreadable, AfterFailure::Wait, "such as a copy of the disk");
        for (record, gate, expected) in [
            (&both, Gate::Failed, AfterFailure::Restart),
            (&both, Gate::NotReady, AfterFailure::Wait),
            (&both, Gate::Error, AfterFailure::Stay),
            (&alone, Gate::Failed, AfterFailure::Wait),
            (&alone, Gate::NotReady, AfterFailure::Wait),
            (&alone, Gate::Error, AfterFailure::Stay),
        ] {
            assert_eq!(
                after_failure(Some(record), Slot::A, Why::Default, gate),
                expected,
                "{gate:?}"
            );
        }
    }
}
