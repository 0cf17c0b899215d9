//! The boot record on the disk. There are two copies; each write goes to the older one.

use crate::disk::device::{BlockDevice, DeviceLock};
use crate::disk::{Disk, DiskError, Window};
use record::{
    COPY_OFFSETS, Choice, Copies, Guid, Handoff, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason,
    Record, STATE_LEN, Slot, SlotState, Status,
};
use std::io;

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no usable state partition.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The state partition is shorter than 1 MiB.
    #[error("rayos-state: length {0}, minimum {STATE_LEN}")]
    TooShort(u64),
    /// The device returned an error in the boot record.
    #[error("boot record: {0}")]
    Io(#[from] io::Error),
    /// The device returned an error in the event ring.
    #[error("event ring: {0}")]
    Ring(io::Error),
    /// A later version of this program wrote a copy. It is neither used nor overwritten.
    #[error("boot record: version {0}, expected 1")]
    Newer(u16),
    /// Neither copy is readable.
    #[error("boot record is lost: copy 0: {}; copy 1: {}", copy(.0, 0), copy(.0, 1))]
    Lost([Option<record::RecordError>; 2]),
    /// The record was written for another disk, of which this one is a copy.
    #[error("boot record: disk {record}, expected {disk}")]
    OtherDisk {
        /// GUID in the record.
        record: Guid,
        /// GUID of the disk.
        disk: Guid,
    },
    /// Another program wrote the record after it was read.
    #[error(
        "boot record: changed by another program: sequence number {found}, expected {expected}"
    )]
    Changed {
        /// Sequence number that the new record is based on.
        expected: u64,
        /// Sequence number on the disk.
        found: u64,
    },
    /// The medium does not hold what was written and flushed.
    #[error("boot record: copy {0} differs from what was written to it")]
    ReadBack(u32),
}

fn copy(errors: &[Option<record::RecordError>; 2], copy: usize) -> String {
    errors[copy].map_or_else(|| "cannot be read".to_owned(), |error| error.to_string())
}

/// The current record, and what the next write needs to know.
struct Current {
    record: Record,
    /// Number of the copy that the next write goes to.
    next_copy: u32,
    both_valid: bool,
}

/// The two copies of the record in a state partition.
#[derive(Clone, Debug)]
pub struct RecordStore {
    state: Window,
    disk_guid: Guid,
    /// What the guard reported about the running system.
    started: Option<Handoff>,
}

impl RecordStore {
    /// Returns the store on `disk`. *Pure*: nothing is read yet.
    ///
    /// # Errors
    /// [`StoreError::Disk`] without a state partition, [`StoreError::TooShort`].
    pub fn open(disk: &Disk) -> Result<Self, StoreError> {
        let state = disk.state()?;
        if state.len() < STATE_LEN {
            return Err(StoreError::TooShort(state.len()));
        }
        Ok(Self {
            state,
            disk_guid: disk.guid(),
            started: None,
        })
    }

    /// Returns the store as the system that the guard started with `handoff` reads it: this start
    /// is counted, also if the guard could not write the record ([`as_started`]). *Pure.*
    #[must_use]
    pub fn started_by(self, handoff: &Handoff) -> Self {
        Self {
            started: Some(*handoff),
            ..self
        }
    }

    /// Returns what the two copies hold. *Reads.* A copy that the device cannot read counts as an
    /// unreadable copy, not as an error.
    #[must_use]
    pub fn pair(&self) -> Pair {
        let blocks = COPY_OFFSETS.map(|offset| {
            let mut block = [0; RECORD_LEN];
            self.state
                .read_at(offset, &mut block)
                .is_ok()
                .then_some(block)
        });
        let [first, second] = &blocks;
        Pair::read(Copies([first.as_ref(), second.as_ref()]))
    }

    /// Returns the current record: the valid copy with the higher sequence number. *Reads.*
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Lost`], [`StoreError::OtherDisk`].
    pub fn read(&self) -> Result<Record, StoreError> {
        self.current().map(|current| current.record)
    }

    /// Writes `record`, which must be based on the current one, with the next sequence number, and
    /// returns it as written. *Writes*; durable on return. A record without a change is written
    /// only if that repairs an unreadable copy.
    ///
    /// # Errors
    /// As [`RecordStore::read`]; [`StoreError::Changed`] for a record that is based on another one.
    /// After [`StoreError::Io`] and [`StoreError::ReadBack`] the record on the disk is the old one
    /// or the new one.
    ///
    /// # Power loss
    /// Leaves the old record or the new one: the copy that holds the current record is not touched.
    pub fn write(&self, record: &Record) -> Result<Record, StoreError> {
        let _lock = DeviceLock::acquire(&self.state)?;
        self.write_locked(record)
    }

    /// Reads the record, applies `to` to it and writes the result, with no change by another
    /// program in between. Returns the record before and after. *Writes*; otherwise as
    /// [`RecordStore::write`].
    ///
    /// # Errors
    /// As [`RecordStore::write`], and the error of `to`.
    ///
    /// # Power loss
    /// As [`RecordStore::write`].
    pub fn update<E: From<StoreError>>(
        &self,
        to: impl FnOnce(&Record) -> Result<Record, E>,
    ) -> Result<(Record, Record), E> {
        let _lock = DeviceLock::acquire(&self.state).map_err(StoreError::from)?;
        let before = self.read()?;
        let after = self.write_locked(&to(&before)?)?;
        Ok((before, after))
    }

    fn write_locked(&self, record: &Record) -> Result<Record, StoreError> {
        let current = self.current()?;
        if record.seq != current.record.seq {
            return Err(StoreError::Changed {
                expected: record.seq,
                found: current.record.seq,
            });
        }
        if *record == current.record && current.both_valid {
            return Ok(*record);
        }
        let record = Record {
            seq: record.seq.saturating_add(1),
            ..*record
        };
        self.write_copy(&record, current.next_copy)?;
        Ok(record)
    }

    /// Writes the current record to the other copy as well, with the same sequence number, if the
    /// loss of one copy would undo a decision ([`hangs_on_one_copy`]). *Writes*; durable on return.
    /// Returns whether it wrote.
    ///
    /// # Errors
    /// As [`RecordStore::read`]. After [`StoreError::Io`] and [`StoreError::ReadBack`] the current
    /// record is still the current one.
    ///
    /// # Power loss
    /// Leaves the current record: its copy is not touched. The other copy is unchanged, damaged, or
    /// holds the current record, too.
    pub fn settle(&self) -> Result<bool, StoreError> {
        let _lock = DeviceLock::acquire(&self.state)?;
        let current = self.on_disk()?;
        let other = self.read_copy(current.next_copy);
        if !hangs_on_one_copy(&current.record, other.as_ref()) {
            return Ok(false);
        }
        self.write_copy(&current.record, current.next_copy)?;
        Ok(true)
    }

    /// Returns the record in one of the copies, if that is valid.
    fn read_copy(&self, copy: u32) -> Option<Record> {
        let mut block = [0; RECORD_LEN];
        self.state
            .read_at(COPY_OFFSETS[copy as usize], &mut block)
            .ok()?;
        Record::decode(&block, copy)
            .ok()
            .filter(|record| record.disk_guid == self.disk_guid)
    }

    /// Writes `record` to both copies, on a disk whose record is missing, lost or replaced by a new
    /// installation. *Writes*; durable on return. The sequence number is raised above any on the
    /// disk.
    ///
    /// # Errors
    /// [`StoreError::Newer`]; to overwrite such a record, call [`RecordStore::erase`] first.
    /// [`StoreError::OtherDisk`] if `record` names another disk. [`StoreError::Io`],
    /// [`StoreError::ReadBack`].
    ///
    /// # Power loss
    /// Leaves the previous record or none, or the new one.
    pub fn initialise(&self, record: &Record) -> Result<Record, StoreError> {
        let _lock = DeviceLock::acquire(&self.state)?;
        self.check_disk(record)?;
        let (seq, first) = match self.pair() {
            Pair::Newer(major) => return Err(StoreError::Newer(major)),
            Pair::Valid {
                record: old,
                next_copy,
                ..
            } => (old.seq.saturating_add(1), next_copy),
            Pair::Lost(_) => (1, 0),
        };
        let record = Record {
            seq: record.seq.max(seq),
            ..*record
        };
        self.write_copy(&record, first)?;
        self.write_copy(&record, 1 - first)?;
        Ok(record)
    }

    /// Overwrites both copies and the event ring with zeroes, for a new installation. *Writes*;
    /// durable on return.
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// Leaves the old record, or none.
    pub fn erase(&self) -> Result<(), StoreError> {
        for offset in COPY_OFFSETS {
            self.state.write_at(offset, &[0; RECORD_LEN])?;
        }
        self.state
            .write_at(RING_OFFSET, &vec![0; RING_LEN as usize])?;
        Ok(self.state.flush()?)
    }

    /// Returns the current record, in which the running system's start is counted.
    fn current(&self) -> Result<Current, StoreError> {
        let current = self.on_disk()?;
        let record = match &self.started {
            Some(handoff) => as_started(&current.record, handoff),
            None => current.record,
        };
        Ok(Current { record, ..current })
    }

    fn on_disk(&self) -> Result<Current, StoreError> {
        match self.pair() {
            Pair::Valid {
                record,
                next_copy,
                both,
            } => {
                self.check_disk(&record)?;
                Ok(Current {
                    record,
                    next_copy,
                    both_valid: both,
                })
            }
            Pair::Newer(major) => Err(StoreError::Newer(major)),
            Pair::Lost(errors) => Err(StoreError::Lost(errors)),
        }
    }

    fn check_disk(&self, record: &Record) -> Result<(), StoreError> {
        if record.disk_guid == self.disk_guid {
            Ok(())
        } else {
            Err(StoreError::OtherDisk {
                record: record.disk_guid,
                disk: self.disk_guid,
            })
        }
    }

    fn write_copy(&self, record: &Record, copy: u32) -> Result<(), StoreError> {
        let block = record.encode(copy);
        let offset = COPY_OFFSETS[copy as usize];
        self.state.write_at(offset, &block)?;
        self.state.flush()?;
        let mut found = [0; RECORD_LEN];
        self.state.read_medium_at(offset, &mut found)?;
        if found == block {
            Ok(())
        } else {
            Err(StoreError::ReadBack(copy))
        }
    }
}

/// Returns the record as the guard wanted it on the disk before it started the running system.
/// *Pure.*
///
/// A guard that cannot write starts a Good slot nevertheless, uncounted. The slot's budget is then
/// full although nothing was committed in this boot, and an update would take its only fallback for
/// dispensable. A record that was written after the start is returned as it is.
#[must_use]
pub fn as_started(record: &Record, handoff: &Handoff) -> Record {
    let Choice::Slot(slot) = handoff.choice else {
        return *record;
    };
    let state = *record.slot(slot);
    match state.status {
        Status::Good { budget_left } if record.seq == handoff.seq => {
            let budget_left = budget_left.min(handoff.left);
            let status = Status::Good { budget_left };
            record.with_slot(slot, SlotState { status, ..state })
        }
        _ => *record,
    }
}

/// Returns whether the loss of the copy with `newest` would undo a decision, because `older` would
/// then be the current record. *Pure.*
///
/// A committed release must not be on trial again, no floor must fall, and a decision of an
/// operator must not be lost. A try that is regained, or an update that must be repeated, does no
/// harm.
#[must_use]
pub fn hangs_on_one_copy(newest: &Record, older: Option<&Record>) -> bool {
    let Some(older) = older else { return true };
    let ruled_out = [Reason::MarkedBad, Reason::RolledBack, Reason::Revoked];
    let is_undone = |slot: &Slot| {
        let (now, then) = (newest.slot(*slot), older.slot(*slot));
        match now.status {
            Status::Good { .. } => !then.is_good() || then.release != now.release,
            Status::Unbootable => {
                ruled_out.contains(&now.reason) && then.status != Status::Unbootable
            }
            Status::Pending { .. } => false,
        }
    };
    newest.default != older.default
        || newest.floor > older.floor
        || newest.trust_floor > older.trust_floor
        || Slot::ALL.iter().any(is_undone)
}
