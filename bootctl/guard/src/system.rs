//! The disk with the boot record: finding it, reading it, writing it.

use crate::disk::{self, BLOCK, Disk, IoError, PartitionSource};
use crate::image::{self, Refusal};
use crate::machine::Machine;
use alloc::vec;
use record::event::{Event, events, next_seq};
use record::gpt::{Partition, Partitions};
use record::{
    COPY_OFFSETS, Choice, Copies, Evidence, Guid, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason,
    Record, RecordError, Slot, rebuild,
};
use seal::{Purpose, Statement, Trust};

/// A disk with a state partition.
#[derive(Debug)]
pub(crate) struct Found<D> {
    pub(crate) disk: D,
    pub(crate) partitions: Partitions,
    pub(crate) state: Partition,
    /// Whether the guard was loaded from this very disk.
    pub(crate) own: bool,
}

/// Where to start from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Place<D, F> {
    /// A disk with a system on it.
    Disk(Found<D>),
    /// Installation media: recovery from a file, whatever is on other disks.
    Media(F),
    /// Nothing at all.
    Nowhere,
}

/// Looks for a state partition: on the guard's own disk; else, if the guard's volume is no
/// installation medium, on the others, where one with a readable record of its own goes first.
/// *Reads.*
pub(crate) fn find<M: Machine>(machine: &mut M) -> Place<M::Disk, M::File> {
    if let Some(found) = machine.own_disk().and_then(|disk| open(disk, true)) {
        return Place::Disk(found);
    }
    if let Some(file) = machine.recovery_file() {
        return Place::Media(file);
    }
    let mut best = None;
    for found in machine
        .other_disks()
        .into_iter()
        .filter_map(|disk| open(disk, false))
    {
        let belongs = matches!(
            found.read_record(),
            Pair::Valid { record, .. } if record.disk_guid == found.partitions.disk_guid
        );
        if belongs {
            return Place::Disk(found);
        }
        best = best.or(Some(found));
    }
    best.map_or(Place::Nowhere, Place::Disk)
}

fn open<D: Disk>(disk: D, own: bool) -> Option<Found<D>> {
    let partitions = disk::partitions(&disk).ok()?;
    let state = partitions.state?;
    Some(Found {
        disk,
        partitions,
        state,
        own,
    })
}

impl<D: Disk> Found<D> {
    fn read_record(&self) -> Pair {
        let copies = COPY_OFFSETS.map(|offset| {
            let mut block = [0; RECORD_LEN];
            disk::read_at(&self.disk, &self.state, offset, &mut block)
                .ok()
                .map(|()| block)
        });
        Pair::read(Copies(copies.each_ref().map(Option::as_ref)))
    }

    /// The seal of a slot's boot partition, if it is accepted and the slot has both partitions.
    fn seal(&self, slot: Slot, trust: &Trust) -> Result<Statement, Refusal> {
        let boot = self.partitions.boot(slot).ok_or(Refusal::Missing)?;
        self.partitions.root(slot).ok_or(Refusal::Missing)?;
        let mut source = PartitionSource {
            disk: &self.disk,
            partition: boot,
        };
        image::statement(&mut source, trust, Purpose::Release)
    }
}

/// What stands in the state partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Authority {
    /// The record.
    Record(Record),
    /// A record of a later major version: recovery, and nothing is written.
    Newer(u16),
    /// No record, and no evidence to make one from: recovery, and nothing is written.
    Nothing,
}

/// Why a record that was read does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Neither copy is readable.
    Copies([Option<RecordError>; 2]),
    /// It was written for another disk: found, then expected.
    OtherDisk(Guid, Guid),
}

impl core::fmt::Display for Lost {
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
                write!(f, "the boot record is of disk {found}, this is {expected}")
            }
        }
    }
}

/// The disk, the record on it, and the event ring.
#[derive(Debug)]
pub(crate) struct System<D> {
    pub(crate) found: Found<D>,
    /// The record as it stands on the disk, and the copy that the next write goes to.
    on_disk: Option<Record>,
    next_copy: u32,
    next_event: u64,
}

impl<D: Disk> System<D> {
    /// Reads the record; makes it anew from evidence if it is lost. *Reads*: what was made anew is
    /// on the disk only after [`System::write`].
    pub(crate) fn load(found: Found<D>, trust: &Trust) -> (Self, Authority, Option<Lost>) {
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
            Pair::Newer(major) => return (system, Authority::Newer(major), None),
            Pair::Valid {
                record, next_copy, ..
            } if record.disk_guid == disk_guid => {
                system.on_disk = Some(record);
                system.next_copy = next_copy;
                return (system, Authority::Record(record), None);
            }
            Pair::Valid {
                record, next_copy, ..
            } => {
                system.next_copy = next_copy;
                Lost::OtherDisk(record.disk_guid, disk_guid)
            }
            Pair::Lost(errors) => Lost::Copies(errors),
        };
        // A record of another disk still outnumbers a new one with a lower sequence number.
        let last_seq = match pair {
            Pair::Valid { record, .. } => last_seq.max(record.seq),
            _ => last_seq,
        };
        // The images are hashed when they are loaded: a slot that is not whole is passed over then.
        let sealed = Slot::ALL.map(|slot| {
            system
                .found
                .seal(slot, trust)
                .map_err(|refusal| refusal.reason())
        });
        let evidence = Evidence {
            sealed,
            seq_seen: last_seq,
        };
        let authority = rebuild(&system.found.partitions, &evidence)
            .map_or(Authority::Nothing, Authority::Record);
        (system, authority, Some(lost))
    }

    /// Writes `record` with the next sequence number into the copy not in use, flushes and reads it
    /// back; nothing if it already stands there. *Writes (durable on return).* Returns it as it
    /// then stands.
    ///
    /// # Errors
    /// [`IoError`], also if what is read back is not what was written.
    ///
    /// # Power loss
    /// In the middle of the write the copy in use still counts.
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
        let Found { disk, state, .. } = &mut self.found;
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

    /// Appends an event to the ring. *Writes (durable on return)* one block; a failure is let pass,
    /// since the ring is a story and no authority.
    pub(crate) fn tell(&mut self, mut event: Event) {
        event.seq = self.next_event;
        let offset = RING_OFFSET.saturating_add(Event::offset(event.seq));
        let Found { disk, state, .. } = &mut self.found;
        if disk::write_at(disk, state, offset, &event.encode())
            .and_then(|()| disk.flush())
            .is_ok()
        {
            self.next_event = self.next_event.saturating_add(1);
        }
    }

    /// The partitions of `slot`, if they are the ones that the record names.
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

    /// The recovery partition. It is found by its type alone: recovery is the last resort, and its
    /// seal says whether it is ours.
    pub(crate) fn recovery_source(&self) -> Result<PartitionSource<'_, D>, Refusal> {
        let partition = self.found.partitions.recovery.ok_or(Refusal::Missing)?;
        Ok(PartitionSource {
            disk: &self.found.disk,
            partition,
        })
    }
}

/// The next free sequence number of the event ring, and the highest record that it tells of.
fn read_ring<D: Disk>(found: &Found<D>) -> (u64, u64) {
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

/// An event about `choice`, with what the record says of it. *Pure.*
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
    event.left = state.map_or(0, |state| crate::run::left(&state.status));
    event.record_seq = record.map_or(0, |record| record.seq);
    event.time = time;
    event.version = state.map_or(seal::Text64::EMPTY, |state| state.release.version);
    event
}
