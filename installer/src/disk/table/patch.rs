//! Partitions added to a table that is on a disk already. Everything that is in it kept as it is,
//! byte for byte: entries with their numbers, names and attributes, GUID of the disk, MBR.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::commit::Table;
use super::existing::{ExistingTable, TableCopy, TableEntry};
use crate::disk::layout::PlannedPartition;
use record::gpt::ENTRY_LEN;
use seal::field::get;

/// Most UTF-16 units of a label (UEFI 2.10, 5.3.3).
const NAME_UNITS: usize = 36;

impl ExistingTable {
    /// This table without `taken_out` and with `added`, for both copies. *Pure.*
    ///
    /// The copy that counts is written last: until the other one is whole and durable, it is the
    /// table.
    #[must_use]
    pub fn patched(&self, taken_out: &[TableEntry], added: &[PlannedPartition]) -> Table {
        let mut array = self.array.clone();
        for entry in taken_out {
            put_entry(&mut array, entry.number, &[0; ENTRY_LEN as usize]);
        }
        for partition in added {
            put_entry(&mut array, partition.number, &self.entry(partition));
        }
        let [primary, backup] = &self.copies;
        let order = if self.from_backup {
            [primary, backup]
        } else {
            [backup, primary]
        };
        let steps = order.into_iter().flat_map(|place| {
            let other = if place.header_lba == 1 {
                backup.header_lba
            } else {
                1
            };
            let mut sectors = place.sectors.clone();
            put(&mut sectors, 0, &array);
            let header = self.header(place, other, crc32fast::hash(&array));
            [
                vec![(place.array_lba, sectors)],
                vec![(place.header_lba, header)],
            ]
        });
        Table {
            sector_size: self.sector_size,
            steps: steps.collect(),
        }
    }

    /// The header that counts, made that of a place.
    fn header(&self, place: &TableCopy, other: u64, array_crc: u32) -> Vec<u8> {
        let mut head = self.head.clone();
        for (at, value) in [(24, place.header_lba), (32, other), (72, place.array_lba)] {
            put(&mut head, at, &value.to_le_bytes());
        }
        put(&mut head, 88, &array_crc.to_le_bytes());
        put(&mut head, 16, &[0; 4]);
        let len = u32::from_le_bytes(get(&head, 12)) as usize;
        let crc = crc32fast::hash(head.get(..len).unwrap_or_default());
        put(&mut head, 16, &crc.to_le_bytes());
        head
    }

    /// A partition as an entry (UEFI 2.10, 5.3.3).
    fn entry(&self, partition: &PlannedPartition) -> [u8; ENTRY_LEN as usize] {
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
        let units = partition.purpose.label().encode_utf16().take(NAME_UNITS);
        let name: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        put(&mut entry, 56, &name);
        entry
    }
}

/// Puts the entry with this number, from 1. There is one: it was read or counted.
fn put_entry(array: &mut [u8], number: u32, entry: &[u8]) {
    put(
        array,
        (number as usize)
            .saturating_sub(1)
            .saturating_mul(ENTRY_LEN as usize),
        entry,
    );
}

/// Puts `bytes` at `at`, if there is room for all of them.
fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = at
        .checked_add(bytes.len())
        .and_then(|end| into.get_mut(at..end))
    {
        place.copy_from_slice(bytes);
    }
}
