//! Coexistence with another system: where our partitions are placed on a disk that already has a
//! partition table, and which partitions are kept.

use crate::disk::layout::{
    ALIGNMENT, KeptPartition, Layout, LayoutError, PARTITIONS, PlannedDisk, check_sector_size,
};
use crate::disk::table::{ExistingTable, Table, TableEntry, UnusableTable};
use bootctl::device::{BlockDevice, WriteFence};
use record::Guid;
use std::ops::Range;
use std::sync::Arc;

/// A reason obstacles an installation beside other systems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Partitions cannot be added to the table.
    #[error(transparent)]
    Table(#[from] UnusableTable),
    /// The layout does not fit any disk.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No free range is large enough.
    #[error("its largest free range has {largest} bytes, the layout needs {need}")]
    Room {
        /// Length of the largest free range in bytes, between multiples of 1 MiB.
        largest: u64,
        /// Bytes that the layout needs.
        need: u64,
    },
    /// A partition of another system has the PARTUUID of a new one.
    #[error("its partition {number} already has the PARTUUID {uuid} of a new partition")]
    SameUuid {
        /// Number of the partition.
        number: u32,
        /// The PARTUUID.
        uuid: Guid,
    },
}

/// Every reason obstacles an installation beside other systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacles(pub Vec<Obstacle>);

impl std::fmt::Display for Obstacles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join("; "))
    }
}
impl std::error::Error for Obstacles {}

/// A plan that keeps other systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoexistPlan {
    /// The disk with the new partitions.
    pub planned: PlannedDisk,
    /// The table that contains them.
    pub table: Table,
}

impl CoexistPlan {
    /// Plans `layout` into the first free range that is large enough. *Pure.* Partitions of an
    /// existing RayOS installation are replaced, all others are kept.
    ///
    /// # Errors
    /// [`Obstacles`]: every reason at once.
    pub fn plan(
        existing: &ExistingTable,
        layout: &Layout,
        size: u64,
        install_id: Guid,
    ) -> Result<Self, Obstacles> {
        let ours = existing.ours();
        let mut obstacles: Vec<Obstacle> = existing
            .problems()
            .into_iter()
            .map(Obstacle::from)
            .collect();
        let sector_size = u32::try_from(existing.sector_size()).unwrap_or(u32::MAX);
        obstacles.extend(check_sector_size(sector_size).err().map(Obstacle::from));
        let numbers = numbers(existing, &ours)
            .map_err(|unfit| obstacles.push(unfit.into()))
            .ok();
        let room = room(existing, layout)
            .map_err(|reason| obstacles.push(reason))
            .ok();
        let (Some(numbers), Some(room), true) = (numbers, room, obstacles.is_empty()) else {
            return Err(Obstacles(obstacles));
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

    /// Returns `device`, restricted to writes to the new partitions and both copies of the table.
    /// *Pure.*
    #[must_use]
    pub fn fence(&self, device: Arc<dyn BlockDevice>) -> WriteFence {
        let partitions = self.planned.partitions.iter();
        let partitions =
            partitions.map(|partition| partition.offset..partition.offset + partition.size);
        WriteFence::new(device, partitions.chain(self.table.extents()))
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

/// Returns the numbers for new partitions: the lowest that are unused or belong to `ours`.
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

/// Returns the first free range that is large enough for `layout`.
fn room(existing: &ExistingTable, layout: &Layout) -> Result<Range<u64>, Obstacle> {
    let need = layout.min_len()?;
    let free = free(existing);
    let len = |range: &Range<u64>| range.end - range.start;
    let largest = free.iter().map(len).max().unwrap_or(0);
    free.into_iter()
        .find(|range| len(range) >= need)
        .ok_or(Obstacle::Room { largest, need })
}

/// Returns the free byte ranges between multiples of [`ALIGNMENT`], in the order of the disk.
/// *Pure.*
#[must_use]
pub fn free(existing: &ExistingTable) -> Vec<Range<u64>> {
    let sector_size = existing.sector_size();
    let (first, last) = existing.usable();
    let mut taken = existing.taken();
    taken.sort_unstable();
    // Closes the last range: no sector after the last usable one is free.
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
