//! Our partitions among the entries of a table, also if there are more than ours of a type.

use super::header::{GptError, Header};
use super::partitions::{Partition, Partitions, entries};
use crate::guid::Guid;
use crate::layout::PartitionName;
use alloc::vec::Vec;

/// Our partitions, and the others that have a type of ours.
///
/// Another system on the disk may have an EFI system partition, too. Ours is the one that ends where
/// `rayos-state` begins, as in all our layouts; without such a one, it is the first. Of two
/// `rayos-state`, it is the one with an EFI system partition before it. Of two partitions of another
/// type it is the first, until [`Found::settled`] knows the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Our partitions.
    pub partitions: Partitions,
    /// The partitions that have a type of ours but are not used, in the order of their entries.
    pub extra: Vec<(PartitionName, Partition)>,
}

impl Found {
    /// Returns our partitions in an array of entries. *Pure.* Of several with the same type it is
    /// the one that is taken without a record.
    ///
    /// # Errors
    /// [`GptError::Damaged`] if the array does not belong to `header`; [`GptError::Field`] if each
    /// partition with a type of ours is outside the usable range.
    pub fn find(header: &Header, array: &[u8]) -> Result<Self, GptError> {
        let array = array.get(..header.array_len).ok_or(GptError::Damaged)?;
        if crc32fast::hash(array) != header.array_crc {
            return Err(GptError::Damaged);
        }
        Self::pick(header, array)
    }

    /// Picks our partitions out of an array whose checksum was compared with that in `header`.
    /// Entries outside the usable range are passed over.
    ///
    /// # Errors
    /// [`GptError::Field`] if there are only such entries of a type.
    pub(super) fn pick(header: &Header, array: &[u8]) -> Result<Self, GptError> {
        let mut found = Self::default();
        found.partitions.disk_guid = header.disk_guid;
        for name in PartitionName::ALL {
            let mut error = None;
            for (_, partition) in entries(array).filter(|(kind, _)| *kind == name.type_guid()) {
                match partition.inside(header.usable) {
                    Ok(partition) => found.add(name, partition),
                    Err(outside) => error = Some(outside),
                }
            }
            match error {
                Some(error) if found.partitions.get(name).is_none() => return Err(error),
                _ => {}
            }
        }
        found.choose_state();
        found.choose_esp();
        found.extra.sort_by_key(|(_, partition)| partition.number);
        Ok(found)
    }

    fn add(&mut self, name: PartitionName, partition: Partition) {
        let place = self.partitions.get_mut(name);
        if place.is_none() {
            *place = Some(partition);
        } else {
            self.extra.push((name, partition));
        }
    }

    /// All partitions of a type.
    fn all(&self, name: PartitionName) -> impl Iterator<Item = Partition> + '_ {
        let extra = self.extra.iter().filter(move |(kind, _)| *kind == name);
        let first = self.partitions.get(name).into_iter();
        first.chain(extra.map(|(_, partition)| *partition))
    }

    fn choose_state(&mut self) {
        let follows = |state: &Partition| {
            self.all(PartitionName::Esp)
                .any(|esp| esp.last_lba.checked_add(1) == Some(state.first_lba))
        };
        let chosen = self.all(PartitionName::State).find(follows);
        self.take(PartitionName::State, chosen);
    }

    fn choose_esp(&mut self) {
        let state = self.partitions.state;
        let ends_at_state = |esp: &Partition| {
            state.is_some_and(|state| esp.last_lba.checked_add(1) == Some(state.first_lba))
        };
        let chosen = self.all(PartitionName::Esp).find(ends_at_state);
        self.take(PartitionName::Esp, chosen);
    }

    /// Makes `chosen`, if there is one, the partition of that name.
    fn take(&mut self, name: PartitionName, chosen: Option<Partition>) {
        let Some(chosen) = chosen else {
            return;
        };
        let place = self.partitions.get_mut(name);
        let before = place.replace(chosen).filter(|before| *before != chosen);
        if let Some(before) = before {
            self.extra
                .retain(|(kind, extra)| (*kind, *extra) != (name, chosen));
            self.extra.push((name, before));
            self.extra.sort_by_key(|(_, partition)| partition.number);
        }
    }

    /// Returns the partitions that have these PARTUUIDs, those of the boot record, where there is a
    /// choice. *Pure.*
    #[must_use]
    pub fn settled(mut self, uuids: &[Guid]) -> Self {
        for name in PartitionName::ALL {
            let in_record = |partition: &Partition| uuids.contains(&partition.uuid);
            let chosen = self.all(name).find(in_record);
            // The place of the state and of the EFI system partition is their identity.
            if !matches!(name, PartitionName::State | PartitionName::Esp) {
                self.take(name, chosen);
            }
        }
        self
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use crate::{BOOT_A_TYPE, DATA_TYPE, ESP_TYPE, STATE_TYPE};
    use std::vec;
    use std::vec::Vec;

    const USABLE: (u64, u64) = (34, 9_999);

    /// Returns the partitions of a table with these entries: type, first and last sector.
    fn found(list: &[(Guid, u64, u64)]) -> Result<Partitions, GptError> {
        let mut array = vec![0; 128 * 128];
        for ((kind, first, last), entry) in list.iter().zip(array.chunks_exact_mut(128)) {
            entry[..16].copy_from_slice(&kind.0);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let header = Header {
            disk_guid: Guid([1; 16]),
            array_lba: 2,
            array_len: array.len(),
            array_crc: crc32fast::hash(&array),
            other_lba: 10_032,
            usable: USABLE,
        };
        Ok(Found::find(&header, &array)?.partitions)
    }

    fn esp(list: &[(Guid, u64, u64)]) -> Option<u32> {
        found(list).unwrap().esp.map(|esp| esp.number)
    }

    #[test]
    fn our_esp_is_the_one_that_ends_where_the_state_begins() {
        let (theirs, ours, state) = (
            (ESP_TYPE, 40, 99),
            (ESP_TYPE, 200, 299),
            (STATE_TYPE, 300, 399),
        );
        assert_eq!(
            esp(&[theirs, ours, state]),
            Some(2),
            "the foreign one is first"
        );
        assert_eq!(
            esp(&[state, theirs, ours]),
            Some(3),
            "in any order of entries"
        );
        assert_eq!(esp(&[ours, state, theirs]), Some(1), "ours is first");
        assert_eq!(
            esp(&[theirs, (ESP_TYPE, 500, 599), state]),
            Some(1),
            "none ends there: the first one"
        );
        assert_eq!(
            esp(&[theirs, (ESP_TYPE, 500, 599)]),
            Some(1),
            "there is no state"
        );
        assert_eq!(
            esp(&[(ESP_TYPE, 200, 298), state]),
            Some(1),
            "there is a gap before the state"
        );
        assert_eq!(esp(&[state]), None);
    }

    #[test]
    fn an_invalid_foreign_esp_does_not_hide_ours() {
        let (ours, state) = ((ESP_TYPE, 200, 299), (STATE_TYPE, 300, 399));
        for theirs in [
            (ESP_TYPE, 0, 3),
            (ESP_TYPE, 9, 8),
            (ESP_TYPE, 9_000, u64::MAX),
        ] {
            assert_eq!(esp(&[theirs, ours, state]), Some(2));
            assert_eq!(
                found(&[theirs, state]),
                Err(GptError::Field("partition range"))
            );
        }
        let data = [(DATA_TYPE, 9, 8), (DATA_TYPE, 400, 499)];
        let number = found(&data).unwrap().data.unwrap().number;
        assert_eq!(number, 2, "an invalid one does not hide a valid one");
        let types: Vec<_> = [BOOT_A_TYPE, DATA_TYPE].map(|kind| (kind, 33, 40)).to_vec();
        assert_eq!(found(&types), Err(GptError::Field("partition range")));
    }

    /// The header and the array of a table with these entries.
    fn table(list: &[(Guid, u64, u64)]) -> Found {
        let mut array = vec![0; 128 * 128];
        for ((number, (kind, first, last)), entry) in
            (1..).zip(list).zip(array.chunks_exact_mut(128))
        {
            entry[..16].copy_from_slice(&kind.0);
            entry[16..32].copy_from_slice(&[number; 16]);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let header = Header {
            disk_guid: Guid([1; 16]),
            array_lba: 2,
            array_len: array.len(),
            array_crc: 0,
            other_lba: 10_032,
            usable: USABLE,
        };
        Found::pick(&header, &array).unwrap()
    }

    #[test]
    fn a_second_partition_of_a_type_is_passed_over_and_named() {
        let list = [
            (ESP_TYPE, 40, 99),
            (STATE_TYPE, 100, 199),
            (BOOT_A_TYPE, 200, 299),
            (DATA_TYPE, 300, 399),
            (DATA_TYPE, 400, 499),
            (BOOT_A_TYPE, 500, 599),
        ];
        let found = table(&list);
        let numbers = |found: &Found| {
            let partitions = &found.partitions;
            [partitions.boot[0], partitions.data].map(|partition| partition.unwrap().number)
        };
        assert_eq!(numbers(&found), [3, 4]);
        let extra = |found: &Found| -> Vec<_> {
            let extra = found.extra.iter();
            extra
                .map(|(name, partition)| (*name, partition.number))
                .collect()
        };
        let (boot, data) = (PartitionName::BootA, PartitionName::Data);
        assert_eq!(extra(&found), [(data, 5), (boot, 6)]);
        // The record knows which one holds the slot.
        let found = found.settled(&[Guid([6; 16]), Guid([77; 16])]);
        assert_eq!(numbers(&found), [6, 4]);
        assert_eq!(extra(&found), [(boot, 3), (data, 5)]);
    }

    #[test]
    fn the_state_is_the_one_behind_an_esp() {
        let (esp, ours) = ((ESP_TYPE, 200, 299), (STATE_TYPE, 300, 399));
        let other = (STATE_TYPE, 600, 699);
        for list in [[esp, ours, other], [other, esp, ours], [other, ours, esp]] {
            let state = table(&list).partitions.state.unwrap();
            assert_eq!(state.first_lba, 300, "{list:?}");
        }
        let alone = table(&[other, ours]).partitions.state.unwrap();
        assert_eq!(alone.number, 1, "none is: the first one");
    }
}
