//! Repairs the two copies of a partition table: the second one at the end of the disk, and the first
//! one from it.
//!
//! An image that was written to a larger disk has its second copy where the image ended, so nothing
//! finds it when the first one is lost. [`TableRepair::plan`] decides; [`TableRepair::write`] writes
//! step by step, and one copy is valid at any time.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::disk::device::BlockDevice;
use crate::disk::gpt_disk::Disk;
use record::PartitionName;
use record::gpt::{ENTRY_LEN, TableCopy, entries};
use seal::field::{get, put};
use std::io;

const MIB: u64 = 1 << 20;
/// Type of the partition of a protective MBR (UEFI 2.10, 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// Why a table could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum TableRepairError {
    /// The disk failed.
    #[error("partition table: {0}")]
    Io(#[from] io::Error),
    /// The disk returned other bytes than were written.
    #[error("partition table: sector {0} reads back different bytes than were written")]
    ReadBack(u64),
}

/// What is wrong with the copies of a table, and how to repair it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRepair {
    /// What is wrong, for people.
    pub faults: Vec<String>,
    /// What a repair changes, for people. Empty if it cannot be repaired.
    pub changes: Vec<String>,
    /// The sectors to write, each with its first one. A flush follows each.
    steps: Vec<(u64, Vec<u8>)>,
}

/// A disk's geometry in sectors.
#[derive(Clone, Copy)]
struct Geometry {
    sector_size: u64,
    /// The last sector of the disk.
    last: u64,
    /// Sectors of an array of entries.
    array: u64,
}

impl Geometry {
    fn of(device: &dyn BlockDevice, array_len: usize) -> Option<Self> {
        let sector_size = u64::from(device.sector_size());
        let last = device.len().checked_div(sector_size)?.checked_sub(1)?;
        let array = u64::try_from(array_len).ok()?.div_ceil(sector_size);
        Some(Self {
            sector_size,
            last,
            array,
        })
    }

    /// The last sector for partitions.
    fn last_usable(self) -> Option<u64> {
        self.last.checked_sub(self.array)?.checked_sub(1)
    }
}

impl TableRepair {
    /// Returns what is wrong with the table of `disk`, and how to repair it. *Reads.*
    #[must_use]
    pub fn plan(disk: &Disk) -> Self {
        let device = disk.device().as_ref();
        let source = disk.table_copy();
        let mut plan = Self::default();
        let Some(geometry) = Geometry::of(device, source.header.array_len) else {
            return plan;
        };
        let is_primary_lost = disk.primary_error().is_some();
        if let Some(error) = disk.primary_error() {
            let words = format!("primary partition table: {error}; the backup is used");
            plan.faults.push(words);
        }
        let place = if is_primary_lost {
            source.lba
        } else {
            source.header.other_lba
        };
        let last = geometry.last;
        let backup_fault = if place != last {
            Some(format!(
                "second partition table: in sector {place}, expected in {last}: the disk is larger \
                 than its table"
            ))
        } else if is_primary_lost {
            None
        } else {
            backup_fault(device, source, last)
        };
        plan.faults.extend(backup_fault.clone());
        if plan.faults.is_empty() {
            return plan;
        }
        let is_moved = place != last;
        plan.prepare(disk, geometry, backup_fault.is_some(), is_moved);
        if is_moved && !plan.changes.is_empty() {
            plan.erase_old_header(device, place, source);
        }
        plan
    }

    fn prepare(&mut self, disk: &Disk, geometry: Geometry, backup: bool, is_moved: bool) {
        let source = disk.table_copy();
        let Some(last_usable) = geometry.last_usable() else {
            return;
        };
        let used = || {
            entries(&source.array)
                .filter(|(kind, _)| *kind != record::Guid::ZERO)
                .map(|(_, partition)| partition.last_lba)
        };
        let has_room_before = geometry.array.saturating_add(2) <= source.header.usable.0;
        if !has_room_before || used().any(|last_lba| last_lba > last_usable) {
            return;
        }
        let mut array = source.array.clone();
        let data = disk.partitions().data;
        let data = data.filter(|data| is_moved && used().all(|last| last <= data.last_lba));
        let grown = data.zip(aligned_end(geometry, last_usable));
        let grown = grown.filter(|(data, end)| *end > data.last_lba);
        if let Some((data, end)) = grown {
            let at = (data.number as usize).saturating_sub(1);
            let at = at.saturating_mul(ENTRY_LEN as usize).saturating_add(40);
            put(&mut array, at, &end.to_le_bytes());
        }
        let header = |own: u64, other: u64, array_lba: u64| {
            let fields = [(24, own), (32, other), (48, last_usable), (72, array_lba)];
            header_with(source, &fields, crc32fast::hash(&array))
        };
        let mut sectors = array.clone();
        let len = geometry.array.saturating_mul(geometry.sector_size);
        sectors.resize(usize::try_from(len).unwrap_or(0).max(array.len()), 0);
        let last = geometry.last;
        if backup {
            let array_lba = last.saturating_sub(geometry.array);
            self.steps.push((array_lba, sectors.clone()));
            self.steps.push((last, header(last, 1, array_lba)));
            let words = "write the second partition table to the end of the disk";
            self.changes.push(words.to_owned());
        }
        if disk.primary_error().is_some() || is_moved {
            self.steps.push((2, sectors));
            self.steps.push((1, header(1, last, 2)));
            self.changes
                .push("write the first partition table".to_owned());
            self.steps.extend(protective(disk.device().as_ref(), last));
        }
        if let Some((_, end)) = grown {
            let name = PartitionName::Data;
            self.changes
                .push(format!("let partition {name} end in sector {end}"));
        }
    }

    /// What was the second table must not be found in place of the new one.
    fn erase_old_header(&mut self, device: &dyn BlockDevice, place: u64, source: &TableCopy) {
        let old = TableCopy::read(device, device.sector_size(), place);
        if old.is_ok_and(|old| old.header.disk_guid == source.header.disk_guid) {
            self.steps.push((place, vec![0; source.sector.len()]));
        }
    }

    /// Writes the repaired table, and reads back each step before the next. *Writes*; durable on
    /// return. The kernel keeps the partitions that it has read until the next start.
    ///
    /// # Errors
    /// [`TableRepairError`].
    ///
    /// # Power loss
    /// Leaves a valid copy of the old table or of the new one; the next repair does the rest.
    pub fn write(&self, device: &dyn BlockDevice) -> Result<(), TableRepairError> {
        let size = u64::from(device.sector_size());
        for (lba, bytes) in &self.steps {
            let offset = lba.saturating_mul(size);
            device.write_at(offset, bytes)?;
            device.flush()?;
            let mut found = vec![0; bytes.len()];
            device.read_medium_at(offset, &mut found)?;
            if found != *bytes {
                return Err(TableRepairError::ReadBack(*lba));
            }
        }
        Ok(())
    }
}

/// Returns why the second copy, in sector `last`, does not back up `primary`.
fn backup_fault(device: &dyn BlockDevice, primary: &TableCopy, last: u64) -> Option<String> {
    match TableCopy::read(device, device.sector_size(), last) {
        Err(error) => Some(format!("second partition table: {error}")),
        Ok(backup) => {
            let is_same = backup.array == primary.array
                && backup.header.disk_guid == primary.header.disk_guid
                && backup.header.other_lba == 1;
            (!is_same).then(|| "second partition table: differs from the first".to_owned())
        }
    }
}

/// Returns the last sector for a partition that ends at a whole MiB.
fn aligned_end(geometry: Geometry, last_usable: u64) -> Option<u64> {
    let step = MIB.checked_div(geometry.sector_size)?;
    let end = last_usable.checked_add(1)?.checked_div(step)?;
    end.checked_mul(step)?.checked_sub(1)
}

/// Returns the sector of the header of `source` with other fields, each an offset and a value (UEFI
/// 2.10, 5.3.2), and valid checksums. *Pure.*
#[must_use]
pub fn header_with(source: &TableCopy, fields: &[(usize, u64)], array_crc: u32) -> Vec<u8> {
    let mut header = source.sector.clone();
    for (at, value) in fields {
        put(&mut header, *at, &value.to_le_bytes());
    }
    put(&mut header, 88, &array_crc.to_le_bytes());
    put(&mut header, 16, &[0; 4]);
    let len = u32::from_le_bytes(get(&header, 12)) as usize;
    let crc = crc32fast::hash(header.get(..len).unwrap_or_default());
    put(&mut header, 16, &crc.to_le_bytes());
    header
}

/// Returns sector 0 with a protective MBR that covers the disk, if it is due: it is empty, or covers
/// another number of sectors. Any other MBR stays.
fn protective(device: &dyn BlockDevice, last: u64) -> Option<(u64, Vec<u8>)> {
    let mut sector = vec![0; device.sector_size() as usize];
    device.read_at(0, &mut sector).ok()?;
    let is_empty = sector.iter().all(|byte| *byte == 0);
    let is_protective = get::<2>(&sector, 510) == [0x55, 0xaa]
        && get::<1>(&sector, 450) == [PROTECTIVE]
        && get::<4>(&sector, 454) == 1_u32.to_le_bytes();
    if !is_empty && !is_protective {
        return None;
    }
    let before = sector.clone();
    let count = u32::try_from(last).unwrap_or(u32::MAX);
    if is_empty {
        put(
            &mut sector,
            446,
            &[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff],
        );
        put(&mut sector, 454, &1_u32.to_le_bytes());
        put(&mut sector, 510, &[0x55, 0xaa]);
    }
    put(&mut sector, 458, &count.to_le_bytes());
    (sector != before).then_some((0, sector))
}
