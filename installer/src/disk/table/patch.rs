//! An existing table with partitions removed and added. Everything else in it stays as it is, byte
//! for byte: entries with their numbers, names and attributes, GUID of the disk, MBR.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::commit::Table;
use super::existing::{ExistingTable, TableEntry};
use crate::disk::layout::PlannedPartition;
use bootctl::disk::header_with;
use record::gpt::ENTRY_LEN;

/// Maximum length of a label in UTF-16 units (UEFI 2.10, 5.3.3).
const MAX_LABEL_UNITS: usize = 36;

impl ExistingTable {
    /// Returns this table without `removed` and with `added`. *Pure.*
    ///
    /// The valid copy is written last: until the other one is durable, it is the table.
    #[must_use]
    pub fn patched(&self, removed: &[TableEntry], added: &[PlannedPartition]) -> Table {
        let mut array = self.source.array.clone();
        for entry in removed {
            put_entry(&mut array, entry.number, &[0; ENTRY_LEN as usize]);
        }
        for partition in added {
            put_entry(&mut array, partition.number, &self.encode(partition));
        }
        let [primary, backup] = &self.copies;
        let order = if self.from_backup {
            [primary, backup]
        } else {
            [backup, primary]
        };
        let steps = order.into_iter().flat_map(|copy| {
            let other = if copy.header_lba == 1 {
                backup.header_lba
            } else {
                1
            };
            let mut sectors = copy.sectors.clone();
            put(&mut sectors, 0, &array);
            let fields = [(24, copy.header_lba), (32, other), (72, copy.array_lba)];
            let header = header_with(&self.source, &fields, crc32fast::hash(&array));
            [
                vec![(copy.array_lba, sectors)],
                vec![(copy.header_lba, header)],
            ]
        });
        Table {
            sector_size: self.sector_size,
            steps: steps.collect(),
        }
    }

    /// Encodes a partition as an entry (UEFI 2.10, 5.3.3).
    fn encode(&self, partition: &PlannedPartition) -> [u8; ENTRY_LEN as usize] {
        let mut entry = [0; ENTRY_LEN as usize];
        let sector = |byte: u64| byte.checked_div(self.sector_size).unwrap_or(0);
        let last = partition
            .offset
            .saturating_add(partition.size)
            .saturating_sub(1);
        put(&mut entry, 0, &partition.purpose.type_guid().0);
        put(&mut entry, 16, &partition.uuid.0);
        put(&mut entry, 32, &sector(partition.offset).to_le_bytes());
        put(&mut entry, 40, &sector(last).to_le_bytes());
        let label = partition.purpose.as_str().encode_utf16();
        let label: Vec<u8> = label
            .take(MAX_LABEL_UNITS)
            .flat_map(u16::to_le_bytes)
            .collect();
        put(&mut entry, 56, &label);
        entry
    }
}

/// Replaces the entry with this number, counted from 1. A number outside the array has no effect;
/// callers pass numbers that were read from it.
fn put_entry(array: &mut [u8], number: u32, entry: &[u8]) {
    let at = (number as usize)
        .saturating_sub(1)
        .saturating_mul(ENTRY_LEN as usize);
    put(array, at, entry);
}

/// Writes `bytes` at `at`, if all of them fit.
fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.checked_add(bytes.len());
    if let Some(range) = end.and_then(|end| into.get_mut(at..end)) {
        range.copy_from_slice(bytes);
    }
}
