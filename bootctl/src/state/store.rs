//! The boot record on the disk: read from two copies, written to the one that is not in use.

use crate::disk::device::BlockDevice;
use crate::disk::{Disk, DiskError, Window};
use record::{
    COPY_OFFSETS, Copies, Guid, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason, Record, STATE_LEN,
    Slot, Status,
};
use std::io;

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no usable state partition.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The state partition is shorter than 1 MiB.
    #[error("rayos-state is {0} bytes long, expected at least {STATE_LEN}")]
    TooShort(u64),
    /// The device gave an error.
    #[error("boot record: {0}")]
    Io(#[from] io::Error),
    /// The device gave an error in the event ring.
    #[error("event ring: {0}")]
    Ring(io::Error),
    /// A copy was written by a later version of this program: it is neither used nor overwritten.
    #[error("boot record has version {0}, this program reads 1")]
    Newer(u16),
    /// No copy is readable.
    #[error("boot record is lost: copy 0: {}; copy 1: {}", copy(.0, 0), copy(.0, 1))]
    Lost([Option<record::RecordError>; 2]),
    /// The record was written for another disk: this one was copied from it.
    #[error("boot record belongs to disk {record}, this is disk {disk}")]
    OtherDisk {
        /// GUID in the record.
        record: Guid,
        /// GUID of the disk.
        disk: Guid,
    },
    /// Someone else wrote the record since it was read.
    #[error("boot record changed meanwhile: sequence number {found}, expected {expected}")]
    Changed {
        /// Sequence number that the new record is based on.
        expected: u64,
        /// Sequence number on the disk.
        found: u64,
    },
    /// What was written and flushed is not what the medium holds.
    #[error("copy {0} of the boot record reads back differently than it was written")]
    ReadBack(u32),
}

fn copy(errors: &[Option<record::RecordError>; 2], copy: usize) -> String {
    errors[copy].map_or_else(|| "cannot be read".to_owned(), |error| error.to_string())
}

/// The two copies of the record in a state partition.
#[derive(Clone, Debug)]
pub struct RecordStore {
    state: Window,
    disk_guid: Guid,
}

impl RecordStore {
    /// The store on `disk`. *Pure*: nothing is read yet.
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
        })
    }

    /// What the two copies say. *Reads.* A copy that cannot be read counts as unreadable, not as an
    /// error.
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

    /// The record that counts. *Reads.*
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Lost`], [`StoreError::OtherDisk`].
    pub fn read(&self) -> Result<Record, StoreError> {
        self.current().map(|(record, ..)| record)
    }

    /// Writes `record`, which must be based on the one on the disk, under the next sequence number,
    /// and returns it as written. Durable on return. A record that says nothing new is not written,
    /// unless the other copy is unreadable and is thus mended.
    ///
    /// # Errors
    /// As [`RecordStore::read`]; [`StoreError::Changed`] for a record that is based on another one;
    /// [`StoreError::Io`] and [`StoreError::ReadBack`], after which the record on disk is the old
    /// or the new one.
    ///
    /// # Power loss
    /// Leaves the old record or the new one: the copy that counted until now is not touched.
    pub fn write(&self, record: &Record) -> Result<Record, StoreError> {
        let _alone = Alone::with(&self.state)?;
        self.write_alone(record)
    }

    /// Reads the record, lets `to` say what it shall be, and writes that, with no other program in
    /// between: the record before and after. Otherwise as [`RecordStore::write`].
    ///
    /// # Errors
    /// As [`RecordStore::write`], and what `to` says.
    ///
    /// # Power loss
    /// As [`RecordStore::write`].
    pub fn update<E: From<StoreError>>(
        &self,
        to: impl FnOnce(&Record) -> Result<Record, E>,
    ) -> Result<(Record, Record), E> {
        let _alone = Alone::with(&self.state).map_err(StoreError::from)?;
        let before = self.read()?;
        let after = self.write_alone(&to(&before)?)?;
        Ok((before, after))
    }

    fn write_alone(&self, record: &Record) -> Result<Record, StoreError> {
        let (current, next_copy, both) = self.current()?;
        if record.seq != current.seq {
            return Err(StoreError::Changed {
                expected: record.seq,
                found: current.seq,
            });
        }
        if *record == current && both {
            return Ok(current);
        }
        let record = Record {
            seq: current.seq.saturating_add(1),
            ..*record
        };
        self.put(&record, next_copy)?;
        Ok(record)
    }

    /// Writes the record that counts into the other copy too, if the loss of its only copy would
    /// take back what was decided. Durable on return. Returns whether it wrote: the same record,
    /// under the same sequence number.
    ///
    /// # Errors
    /// As [`RecordStore::read`]; [`StoreError::Io`] and [`StoreError::ReadBack`], after which the
    /// record that counts still does.
    ///
    /// # Power loss
    /// Leaves the record that counts: its copy is not touched, and the other one is as before,
    /// damaged, or the same.
    pub fn settle(&self) -> Result<bool, StoreError> {
        let _alone = Alone::with(&self.state)?;
        let (record, other, _) = self.current()?;
        if !hangs_on_one_copy(&record, self.copy(other).as_ref()) {
            return Ok(false);
        }
        self.put(&record, other)?;
        Ok(true)
    }

    /// What stands in one of the copies, if that is readable. *Reads.*
    fn copy(&self, copy: u32) -> Option<Record> {
        let mut block = [0; RECORD_LEN];
        self.state
            .read_at(COPY_OFFSETS[copy as usize], &mut block)
            .ok()?;
        Record::decode(&block, copy)
            .ok()
            .filter(|record| record.disk_guid == self.disk_guid)
    }

    /// Writes `record` to both copies, for a disk that had none, or whose record was lost or is
    /// replaced by a new install. Its sequence number is raised above any that is on the disk.
    /// Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Newer`]: [`RecordStore::erase`] first, if that is meant.
    /// [`StoreError::OtherDisk`] if `record` names another disk. [`StoreError::Io`],
    /// [`StoreError::ReadBack`].
    ///
    /// # Power loss
    /// Leaves the record that was there before (or none), or the new one.
    pub fn initialise(&self, record: &Record) -> Result<Record, StoreError> {
        let _alone = Alone::with(&self.state)?;
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
        self.put(&record, first)?;
        self.put(&record, 1 - first)?;
        Ok(record)
    }

    /// Zeroes both copies and the event ring, for a new install over whatever was there. Durable on
    /// return.
    ///
    /// # Errors
    /// What the device says.
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

    fn current(&self) -> Result<(Record, u32, bool), StoreError> {
        match self.pair() {
            Pair::Valid {
                record,
                next_copy,
                both,
            } => {
                self.check_disk(&record)?;
                Ok((record, next_copy, both))
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

    fn put(&self, record: &Record, copy: u32) -> Result<(), StoreError> {
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

/// Whether the loss of the copy with `newest` would take back what was decided, since `older` alone
/// would then count. *Pure.* A release that committed must not be on trial again, nor a floor fall,
/// nor a person's word be forgotten; a try that is given back, or an update that must be begun
/// again, does no harm.
#[must_use]
pub fn hangs_on_one_copy(newest: &Record, older: Option<&Record>) -> bool {
    let Some(older) = older else { return true };
    let given_up = [Reason::MarkedBad, Reason::RolledBack, Reason::Revoked];
    let taken_back = |slot: &Slot| {
        let (now, then) = (newest.slot(*slot), older.slot(*slot));
        match now.status {
            Status::Good { .. } => !then.is_good() || then.release != now.release,
            Status::Unbootable => {
                given_up.contains(&now.reason) && then.status != Status::Unbootable
            }
            Status::Pending { .. } => false,
        }
    };
    newest.default != older.default
        || newest.floor > older.floor
        || Slot::ALL.iter().any(taken_back)
}

/// Others are kept out of the record and the ring for as long as this lives.
pub(crate) struct Alone<'a>(&'a Window);

impl<'a> Alone<'a> {
    /// Waits for its turn: a few writes of others at most.
    pub(crate) fn with(state: &'a Window) -> io::Result<Self> {
        state.keep_others_out()?;
        Ok(Self(state))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.let_others();
    }
}
