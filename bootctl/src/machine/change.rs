//! Operations that change the boot record.

use super::open::{Machine, MachineError};
use crate::boot::reconcile::{self, Facts, Report, Warning};
use crate::boot::transition::{self, Refusal};
use crate::state::store::StoreError;
use record::event::{Event, Kind};
use record::{Choice, Record, Slot, Text64};

/// Text of the event when a release was committed without any health check.
pub const UNCHECKED: &str = "no health check was there";

/// Result of an operation.
#[derive(Debug)]
pub struct Change {
    /// The record before.
    pub before: Record,
    /// The record as it was written; equal to `before` if nothing changed.
    pub after: Record,
    /// Why only one copy of the record holds the decision. It counts, but is lost with that copy.
    pub copy_error: Option<StoreError>,
    /// Why the event could not be appended. Only the event ring is incomplete.
    pub event_error: Option<StoreError>,
    /// The changes of the boot entries.
    pub entries: Report,
}

impl Change {
    /// Returns whether anything was written. *Pure.*
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != self.after || !self.entries.done.is_empty()
    }
}

/// An event to append when a record was changed.
struct Notice {
    kind: Kind,
    text: &'static str,
}

impl Notice {
    fn new(kind: Kind) -> Self {
        Self { kind, text: "" }
    }
}

impl Machine {
    /// Brings the boot entries in line with `record`, by a bounded number of changes. *Writes.*
    ///
    /// # Power loss
    /// As [`reconcile::run`].
    pub fn reconcile(&self, record: &Record) -> Report {
        self.with_facts(|facts| reconcile::run(record, self.vars.as_ref(), facts, self.booted()))
    }

    /// As [`Machine::reconcile`], until no change is due. *Writes.*
    ///
    /// # Power loss
    /// As [`reconcile::run`].
    pub fn settle_entries(&self, record: &Record) -> Report {
        self.with_facts(|facts| reconcile::settle(record, self.vars.as_ref(), facts, self.booted()))
    }

    fn with_facts(&self, run: impl FnOnce(&Facts) -> Report) -> Report {
        self.facts().map_or_else(
            || Report {
                warning: Some(Warning::NoEsp),
                ..Report::default()
            },
            |facts| run(&facts),
        )
    }

    /// Declares the running release good, and brings the boot entries in line. *Writes*; durable on
    /// return. `time` is in seconds since 1970, 0 if unknown.
    ///
    /// # Errors
    /// [`MachineError`]. Failures of the second copy, the event and the entries are in [`Change`].
    ///
    /// # Power loss
    /// Leaves the release on trial, or committed in one copy of the record or in both.
    pub fn commit(&self, time: u64) -> Result<Change, MachineError> {
        self.commit_with(time, "")
    }

    /// As [`Machine::commit`]; the event of a first commit has `text`, such as [`UNCHECKED`].
    /// *Writes*; durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// As [`Machine::commit`].
    pub fn commit_with(&self, time: u64, text: &'static str) -> Result<Change, MachineError> {
        let booted = self.require_booted()?;
        let is_first =
            |before: &Record| matches!(booted, Choice::Slot(slot) if !before.slot(slot).is_good());
        self.change(time, booted, |before| {
            let kind = Kind::Committed;
            let notice = is_first(before).then_some(Notice { kind, text });
            Ok((transition::commit(before, booted)?, notice))
        })
    }

    /// Writes this machine's compatible into a record without one, such as a rebuilt record. A
    /// record with a compatible does not change. *Writes*; durable on return. Returns whether it
    /// wrote.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Power loss
    /// Leaves the record with or without it.
    pub fn identify(&self, compatible: Text64) -> Result<bool, StoreError> {
        if compatible == Text64::EMPTY {
            return Ok(false);
        }
        let (before, after) = self.store.update(|record| {
            let compatible = match record.compatible {
                Text64::EMPTY => compatible,
                known => known,
            };
            Ok::<_, StoreError>(Record {
                compatible,
                ..*record
            })
        })?;
        Ok(before.compatible != after.compatible)
    }

    /// Makes the next boot return to the other slot. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// Leaves the record with or without the change.
    pub fn rollback(&self, time: u64) -> Result<Change, MachineError> {
        let before = self.store.read()?;
        let booted = self.booted().unwrap_or(Choice::Slot(before.default));
        self.change(time, booted, |before| {
            let notice = Notice::new(Kind::RolledBack);
            Ok((transition::rollback(before, booted)?, Some(notice)))
        })
    }

    /// Requests `choice` for the next boot only. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// Leaves the record with or without the request.
    pub fn boot_once(&self, choice: Choice, time: u64) -> Result<Change, MachineError> {
        self.change(time, choice, |before| {
            let notice = Notice {
                kind: Kind::Note,
                text: "requested for the next boot only",
            };
            Ok((transition::boot_once(before, choice)?, Some(notice)))
        })
    }

    /// Marks a slot bad. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// Leaves the record with or without the change.
    pub fn mark_bad(&self, slot: Slot, time: u64) -> Result<Change, MachineError> {
        self.change(time, Choice::Slot(slot), |before| {
            let notice = Notice::new(Kind::MarkedBad);
            Ok((transition::mark_bad(before, slot)?, Some(notice)))
        })
    }

    /// Makes `slot` startable again, which was given up because its boot budget ran out. *Writes*;
    /// durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// Leaves the record with or without the change.
    pub fn rearm(&self, slot: Slot, time: u64) -> Result<Change, MachineError> {
        self.change(time, Choice::Slot(slot), |before| {
            let notice = Notice {
                kind: Kind::Note,
                text: "its boot budget was given back by an operator",
            };
            Ok((transition::rearm(before, slot)?, Some(notice)))
        })
    }

    /// Gives back the boots that the running Good release did not commit, because it waits for its
    /// health checks. *Writes*; durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    ///
    /// # Power loss
    /// Leaves the record with or without the change.
    pub fn excuse(&self) -> Result<(), MachineError> {
        let booted = self.require_booted()?;
        self.store
            .update(|before| Ok::<_, StoreError>(transition::excuse(before, booted)))?;
        Ok(())
    }

    /// Appends an event about `subject`, with its release and the sequence number of the record.
    /// *Writes*; durable on return.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Power loss
    /// Leaves the ring with or without the event.
    pub fn note(
        &self,
        kind: Kind,
        subject: Option<Choice>,
        text: &str,
        time: u64,
    ) -> Result<(), StoreError> {
        let mut event = Event::new(kind, subject).with_text(text);
        if let Ok(record) = self.store.read() {
            event.record_seq = record.seq;
            if let Some(Choice::Slot(slot)) = subject {
                event.version = record.slot(slot).release.version;
            }
        }
        event.time = time;
        self.log.append(&event).map(drop)
    }

    fn change(
        &self,
        time: u64,
        subject: Choice,
        transition: impl FnOnce(&Record) -> Result<(Record, Option<Notice>), Refusal>,
    ) -> Result<Change, MachineError> {
        let mut notice = None;
        let (before, after) = self.store.update(|before| {
            let (after, event) = transition(before)?;
            notice = event;
            Ok::<_, MachineError>(after)
        })?;
        // The decision counts from here on, whether or not the second copy can be written.
        let copy_error = self.store.settle().err();
        let event_error = notice.filter(|_| after != before).and_then(|notice| {
            self.note(notice.kind, Some(subject), notice.text, time)
                .err()
        });
        let entries = self.reconcile(&after);
        Ok(Change {
            before,
            after,
            copy_error,
            event_error,
            entries,
        })
    }
}
