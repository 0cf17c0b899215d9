//! The disk with the boot record: how to find, read and write it.

use crate::disk::{self, BLOCK, Disk, IoError, PartitionSource};
use crate::image::{self, Refusal};
use crate::machine::Machine;
use alloc::vec;
use record::event::{Event, events, next_seq};
use record::gpt::{Partition, Partitions};
use record::{
    COPY_OFFSETS, Choice, Copies, Evidence, Guid, LINKS_LEN, LINKS_OFFSETS, Pair, RECORD_LEN,
    RING_LEN, RING_OFFSET, Reason, Record, RecordError, Slot, Status, rebuild,
};
use seal::{Accepted, Purpose, Trust, TrustChain, stored_links};

/// A disk with a state partition.
#[derive(Debug)]
pub(crate) struct SystemDisk<D> {
    pub(crate) disk: D,
    pub(crate) partitions: Partitions,
    pub(crate) state: Partition,
    /// Whether the guard was loaded from this very disk.
    pub(crate) own: bool,
}

/// What the guard can start from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum BootSource<D, F> {
    /// A disk with a system on it.
    Disk(SystemDisk<D>),
    /// An installation medium: recovery from a file, whatever is on other disks.
    Media(F),
    /// Neither of them.
    None,
}

/// Finds a disk with a state partition. *Reads.*
///
/// It is the disk of the guard; or else, unless the guard is on an installation medium, another
/// disk: the first one with a record of its own, or otherwise the first one with a state partition.
pub(crate) fn find<M: Machine>(machine: &mut M) -> BootSource<M::Disk, M::File> {
    if let Some(found) = machine.own_disk().and_then(|disk| open(disk, true)) {
        return BootSource::Disk(found);
    }
    if let Some(file) = machine.recovery_file() {
        return BootSource::Media(file);
    }
    let mut best = None;
    for found in machine
        .other_disks()
        .into_iter()
        .filter_map(|disk| open(disk, false))
    {
        let has_own_record = matches!(
            found.read_record(),
            Pair::Valid { record, .. } if record.disk_guid == found.partitions.disk_guid
        );
        if has_own_record {
            return BootSource::Disk(found);
        }
        best = best.or(Some(found));
    }
    best.map_or(BootSource::None, BootSource::Disk)
}

fn open<D: Disk>(disk: D, own: bool) -> Option<SystemDisk<D>> {
    let found = disk::partitions(&disk).ok()?;
    let mut system = SystemDisk {
        disk,
        partitions: found.partitions,
        state: found.partitions.state?,
        own,
    };
    // Of several partitions with a type of ours, the record names the one that holds the slot.
    if !found.extra.is_empty()
        && let Pair::Valid { record, .. } = system.read_record()
    {
        system.partitions = found.settled(&record.partition_uuids()).partitions;
    }
    Some(system)
}

impl<D: Disk> SystemDisk<D> {
    fn read_record(&self) -> Pair {
        let copies = COPY_OFFSETS.map(|offset| {
            let mut block = [0; RECORD_LEN];
            disk::read_at(&self.disk, &self.state, offset, &mut block)
                .ok()
                .map(|()| block)
        });
        Pair::read(Copies(copies.each_ref().map(Option::as_ref)))
    }

    /// Returns the statement in the seal of a slot, if its signatures are accepted and the slot has
    /// both partitions.
    fn seal(&self, slot: Slot, chain: &TrustChain) -> Result<Accepted, Refusal> {
        let boot = self.partitions.boot(slot).ok_or(Refusal::Missing)?;
        self.partitions.root(slot).ok_or(Refusal::Missing)?;
        let mut source = PartitionSource {
            disk: &self.disk,
            partition: boot,
        };
        image::accepted(&mut source, chain, Purpose::Release)
    }

    /// Returns the highest key epoch that accepts the seal of recovery.
    fn recovery_epoch(&self, chain: &TrustChain) -> Option<u64> {
        let mut source = PartitionSource {
            disk: &self.disk,
            partition: self.partitions.recovery?,
        };
        let found = image::accepted(&mut source, chain, Purpose::Recovery);
        found.ok().map(|found| found.epoch)
    }

    /// Returns the chain from `trust` along the links in the state partition. A copy that cannot be
    /// read or is damaged is made up for by the other one.
    pub(crate) fn chain(&self, trust: Trust) -> TrustChain {
        let mut chain = TrustChain::new(trust);
        for offset in LINKS_OFFSETS {
            let mut links = vec![0; LINKS_LEN as usize];
            if disk::read_at(&self.disk, &self.state, offset, &mut links).is_ok() {
                // A link that is refused ends the chain; what was followed so far stays.
                let _refused = chain.follow(&stored_links(&links));
            }
        }
        chain
    }
}

/// The record by which the guard decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum LoadedRecord {
    /// A record, from the disk or from evidence.
    Record(Record),
    /// A record of a later major version: start recovery and write nothing.
    Newer(u16),
    /// Neither a record nor evidence for one: start recovery and write nothing.
    Nothing,
}

/// Why there is no usable record on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordLoss {
    /// Neither copy is valid.
    Copies([Option<RecordError>; 2]),
    /// The record was written for another disk: found, then expected.
    OtherDisk(Guid, Guid),
}

impl core::fmt::Display for RecordLoss {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Copies(errors) => {
                f.write_str("both copies of the boot record are lost")?;
                for (error, copy) in errors.iter().zip(0..) {
                    let join = if copy == 0 { ": copy 0 " } else { ", copy 1 " };
                    match error {
                        Some(error) => write!(f, "{join}{error}")?,
                        None => write!(f, "{join}cannot be read")?,
                    }
                }
                Ok(())
            }
            Self::OtherDisk(found, expected) => {
                write!(f, "boot record: disk {found}, expected {expected}")
            }
        }
    }
}

/// The disk, the record on it, and the event ring.
#[derive(Debug)]
pub(crate) struct System<D> {
    pub(crate) found: SystemDisk<D>,
    /// The record on the disk, and the number of the copy that the next write goes to.
    on_disk: Option<Record>,
    next_copy: u32,
    next_event: u64,
}

impl<D: Disk> System<D> {
    /// Reads the record, or rebuilds it from evidence if it is lost. *Reads*; a rebuilt record is
    /// on the disk only after [`System::write`].
    pub(crate) fn load(
        found: SystemDisk<D>,
        chain: &TrustChain,
    ) -> (Self, LoadedRecord, Option<RecordLoss>) {
        let pair = found.read_record();
        let disk_guid = found.partitions.disk_guid;
        let (next_event, last_seq) = read_ring(&found);
        let mut system = Self {
            found,
            on_disk: None,
            next_copy: 0,
            next_event,
        };
        let lost = match pair {
            Pair::Newer(major) => return (system, LoadedRecord::Newer(major), None),
            Pair::Valid {
                record, next_copy, ..
            } if record.disk_guid == disk_guid => {
                system.on_disk = Some(record);
                system.next_copy = next_copy;
                return (system, LoadedRecord::Record(record), None);
            }
            Pair::Valid {
                record, next_copy, ..
            } => {
                system.next_copy = next_copy;
                RecordLoss::OtherDisk(record.disk_guid, disk_guid)
            }
            Pair::Lost(errors) => RecordLoss::Copies(errors),
        };
        // A new record must have a higher sequence number than the record of another disk.
        let last_seq = match pair {
            Pair::Valid { record, .. } => last_seq.max(record.seq),
            _ => last_seq,
        };
        // The images are hashed when they are loaded; a damaged one is passed over then.
        let sealed = Slot::ALL.map(|slot| {
            system
                .found
                .seal(slot, chain)
                .map_err(|refusal| refusal.reason())
        });
        let evidence = Evidence {
            sealed,
            recovery_epoch: system.found.recovery_epoch(chain),
            seq_seen: last_seq,
        };
        let authority = rebuild(&system.found.partitions, &evidence)
            .map_or(LoadedRecord::Nothing, LoadedRecord::Record);
        (system, authority, Some(lost))
    }

    /// Writes `record` with the next sequence number to the older copy, flushes and reads it back,
    /// and returns the record as written. Writes nothing if the record is on the disk already.
    /// *Writes*; durable on return.
    ///
    /// # Errors
    /// [`IoError`], also if other bytes are read back.
    ///
    /// # Power loss
    /// Leaves the old record, whose copy is not touched, or the new one.
    pub(crate) fn write(&mut self, record: &Record) -> Result<Record, IoError> {
        if self.on_disk == Some(*record) {
            return Ok(*record);
        }
        let record = Record {
            seq: record.seq.checked_add(1).ok_or(IoError)?,
            ..*record
        };
        let block = record.encode(self.next_copy);
        let offset = if self.next_copy == 0 {
            COPY_OFFSETS[0]
        } else {
            COPY_OFFSETS[1]
        };
        let SystemDisk { disk, state, .. } = &mut self.found;
        disk::write_at(disk, state, offset, &block)?;
        disk.flush()?;
        let mut back = [0; RECORD_LEN];
        disk::read_at(disk, state, offset, &mut back)?;
        if back != block {
            return Err(IoError);
        }
        self.on_disk = Some(record);
        self.next_copy = 1_u32.saturating_sub(self.next_copy);
        Ok(record)
    }

    /// Appends an event to the ring. *Writes* one block; durable on return. A failure is ignored,
    /// because no decision depends on the ring.
    ///
    /// # Power loss
    /// Leaves the ring with the event; or without it, and without the oldest event.
    pub(crate) fn append_event(&mut self, mut event: Event) {
        event.seq = self.next_event;
        let offset = RING_OFFSET.saturating_add(Event::offset(event.seq));
        let SystemDisk { disk, state, .. } = &mut self.found;
        if disk::write_at(disk, state, offset, &event.encode())
            .and_then(|()| disk.flush())
            .is_ok()
        {
            self.next_event = self.next_event.saturating_add(1);
        }
    }

    /// Returns the boot partition of `slot`, if both of its partitions are those that the record
    /// names.
    pub(crate) fn slot_source(
        &self,
        slot: Slot,
        record: &Record,
    ) -> Result<PartitionSource<'_, D>, Refusal> {
        let state = record.slot(slot);
        let named =
            |found: Option<Partition>, uuid: Guid| found.filter(|partition| partition.uuid == uuid);
        let boot =
            named(self.found.partitions.boot(slot), state.boot_uuid).ok_or(Refusal::Missing)?;
        named(self.found.partitions.root(slot), state.root_uuid).ok_or(Refusal::Missing)?;
        Ok(PartitionSource {
            disk: &self.found.disk,
            partition: boot,
        })
    }

    /// Returns the recovery partition. It is found by its type only: recovery is the last resort,
    /// and its seal shows that it is ours.
    pub(crate) fn recovery_source(&self) -> Result<PartitionSource<'_, D>, Refusal> {
        let partition = self.found.partitions.recovery.ok_or(Refusal::Missing)?;
        Ok(PartitionSource {
            disk: &self.found.disk,
            partition,
        })
    }
}

/// Returns the next sequence number of the event ring, and the highest sequence number of a record
/// in it.
fn read_ring<D: Disk>(found: &SystemDisk<D>) -> (u64, u64) {
    let mut ring = vec![0; (RING_LEN as usize).next_multiple_of(BLOCK)];
    if disk::read_at(&found.disk, &found.state, RING_OFFSET, &mut ring).is_err() {
        return (1, 0);
    }
    (
        next_seq(&ring),
        events(&ring)
            .map(|event| event.record_seq)
            .max()
            .unwrap_or(0),
    )
}

/// Returns an event about `choice`, with its state in the record. *Pure.*
pub(crate) fn event(
    kind: record::event::Kind,
    choice: Choice,
    record: Option<&Record>,
    reason: Reason,
    time: u64,
) -> Event {
    let state = match (choice, record) {
        (Choice::Slot(slot), Some(record)) => Some(record.slot(slot)),
        _ => None,
    };
    let mut event = Event::new(kind, Some(choice));
    event.reason = reason;
    event.left = state.map_or(0, |state| left(&state.status));
    event.record_seq = record.map_or(0, |record| record.seq);
    event.time = time;
    event.version = state.map_or(seal::Text64::EMPTY, |state| state.release.version);
    event
}

/// Returns the tries (on trial) or the budget (committed) left. *Pure.*
pub(crate) const fn left(status: &Status) -> u8 {
    match *status {
        Status::Unbootable => 0,
        Status::Pending { tries_left: left } | Status::Good { budget_left: left } => left,
    }
}
