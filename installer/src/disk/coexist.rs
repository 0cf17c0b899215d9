//! Room beside another system: where our partitions come to lie on a disk that has a table already,
//! and what kept.

use crate::disk::layout::{
    ALIGNMENT, KeptPartition, Layout, LayoutError, PARTITIONS, PlannedDisk, check_sector_size,
};
use crate::disk::table::{ExistingTable, Table, TableEntry, UnusableTable};
use bootctl::device::{BlockDevice, Fenced};
use record::Guid;
use std::ops::Range;
use std::sync::Arc;

/// A reason against an installation beside what is on a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The table cannot be added to.
    #[error(transparent)]
    Table(#[from] UnusableTable),
    /// The layout fits no disk.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No free range is large enough.
    #[error("its largest free range has {largest} bytes: the layout needs {need}")]
    Room {
        /// Bytes of the largest free range, from and to multiples of 1 MiB.
        largest: u64,
        /// Bytes that the layout needs.
        need: u64,
    },
    /// A partition of another system has a PARTUUID that one of ours would get.
    #[error("its partition {number} has the PARTUUID {uuid}, which is that of a new one")]
    SameUuid {
        /// Number of the partition.
        number: u32,
        /// The PARTUUID.
        uuid: Guid,
    },
}

/// Every reason against an installation beside what is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacles(pub Vec<Obstacle>);

impl std::fmt::Display for Obstacles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join("; "))
    }
}
impl std::error::Error for Obstacles {}

/// A disk with ours beside what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoexistPlan {
    /// The disk as it will be.
    pub planned: PlannedDisk,
    /// Its table.
    pub table: Table,
}

impl CoexistPlan {
    /// Plans `layout` into the first free range that is large enough. *Pure.* Partitions of an
    /// installation of ours are replaced; all others stay.
    ///
    /// # Errors
    /// Every reason against it.
    pub fn plan(
        existing: &ExistingTable,
        layout: &Layout,
        size: u64,
        install_id: Guid,
    ) -> Result<Self, Obstacles> {
        let ours = existing.ours();
        let mut against: Vec<Obstacle> = existing
            .problems()
            .into_iter()
            .map(Obstacle::from)
            .collect();
        let sector_size = u32::try_from(existing.sector_size()).unwrap_or(u32::MAX);
        against.extend(check_sector_size(sector_size).err().map(Obstacle::from));
        let numbers = numbers(existing, &ours)
            .map_err(|unfit| against.push(unfit.into()))
            .ok();
        let room = room(existing, layout)
            .map_err(|reason| against.push(reason))
            .ok();
        let (Some(numbers), Some(room), true) = (numbers, room, against.is_empty()) else {
            return Err(Obstacles(against));
        };
        let filled = layout.fill(&room, numbers, install_id);
        let partitions = filled.map_err(|error| Obstacles(vec![error.into()]))?;
        let same = |entry: &TableEntry| {
            partitions
                .iter()
                .any(|partition| partition.uuid == entry.uuid)
        };
        if let Some(TableEntry { number, uuid, .. }) = existing.others().into_iter().find(same) {
            return Err(Obstacles(vec![Obstacle::SameUuid { number, uuid }]));
        }
        let table = existing.patched(&ours, &partitions);
        let kept = existing
            .others()
            .into_iter()
            .map(|entry| kept_partition(entry, existing.sector_size()));
        let disk_guid = existing.disk_guid();
        let kept = kept.collect();
        let planned = PlannedDisk {
            disk_guid,
            install_id,
            size,
            sector_size,
            partitions,
            kept,
        };
        Ok(Self { planned, table })
    }

    /// `device`, of which nothing may be written but the new partitions and both copies of the
    /// table. *Pure.*
    #[must_use]
    pub fn fence(&self, device: Arc<dyn BlockDevice>) -> Fenced {
        let partitions = self.planned.partitions.iter();
        let partitions =
            partitions.map(|partition| partition.offset..partition.offset + partition.size);
        Fenced::new(device, partitions.chain(self.table.extents()))
    }
}

fn kept_partition(entry: TableEntry, sector_size: u64) -> KeptPartition {
    let TableEntry {
        number,
        kind,
        uuid,
        first_lba,
        last_lba,
        name,
    } = entry;
    let sectors = last_lba.saturating_add(1).saturating_sub(first_lba);
    let (offset, size) = (
        first_lba.saturating_mul(sector_size),
        sectors.saturating_mul(sector_size),
    );
    KeptPartition {
        number,
        name,
        kind,
        offset,
        size,
        uuid,
    }
}

/// The numbers that ours get: the lowest that are unused, or used by `ours`.
fn numbers(
    existing: &ExistingTable,
    ours: &[TableEntry],
) -> Result<[u32; PARTITIONS], UnusableTable> {
    let mut free: Vec<u32> = existing
        .unused()
        .chain(ours.iter().map(|entry| entry.number))
        .collect();
    free.sort_unstable();
    free.first_chunk()
        .copied()
        .ok_or(UnusableTable::Entries { free: free.len() })
}

/// The first free range that `layout` fits into.
fn room(existing: &ExistingTable, layout: &Layout) -> Result<Range<u64>, Obstacle> {
    let need = layout.min_len()?;
    let free = free(existing);
    let len = |range: &Range<u64>| range.end - range.start;
    let largest = free.iter().map(len).max().unwrap_or(0);
    free.into_iter()
        .find(|range| len(range) >= need)
        .ok_or(Obstacle::Room { largest, need })
}

/// The ranges of bytes that nobody uses, from and to multiples of [`ALIGNMENT`], in the order of
/// the disk. *Pure.*
#[must_use]
pub fn free(existing: &ExistingTable) -> Vec<Range<u64>> {
    let sector_size = existing.sector_size();
    let (first, last) = existing.usable();
    let mut taken = existing.taken();
    taken.sort_unstable();
    // Nothing is beyond the last usable sector: that closes the last range.
    taken.push((last.saturating_add(1), u64::MAX));
    let mut at = first;
    let mut free = Vec::new();
    for (from, to) in taken {
        let until = from.min(last.saturating_add(1));
        if until > at {
            let start = at.saturating_mul(sector_size).next_multiple_of(ALIGNMENT);
            let end = until.saturating_mul(sector_size) / ALIGNMENT * ALIGNMENT;
            if end > start {
                free.push(start..end);
            }
        }
        at = at.max(to.saturating_add(1));
    }
    free
}
