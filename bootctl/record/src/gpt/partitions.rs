//! Our partitions in the entry array of a GPT (UEFI 2.10, 5.3.3).

use super::header::{ENTRY_LEN, GptError, Header};
use crate::guid::Guid;
use crate::layout::PartitionName;
use crate::slot::Slot;
use seal::field::get;

/// A partition of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// PARTUUID.
    pub uuid: Guid,
    /// Number, from 1, as in an `HD()` device path.
    pub number: u32,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, included.
    pub last_lba: u64,
}

impl Partition {
    /// Returns the number of sectors. *Pure.*
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.last_lba
            .saturating_sub(self.first_lba)
            .saturating_add(1)
    }

    fn inside(self, (first, last): (u64, u64)) -> Result<Self, GptError> {
        let inside =
            self.first_lba <= self.last_lba && self.first_lba >= first && self.last_lba <= last;
        if inside {
            Ok(self)
        } else {
            Err(GptError::Field("partition range"))
        }
    }
}

/// Returns all entries of an array with their types, including unused ones. *Pure*; nothing is
/// checked.
pub fn entries(array: &[u8]) -> impl Iterator<Item = (Guid, Partition)> + '_ {
    array
        .chunks_exact(ENTRY_LEN as usize)
        .zip(1_u32..)
        .map(|(entry, number)| {
            let partition = Partition {
                uuid: Guid(get(entry, 16)),
                number,
                first_lba: u64::from_le_bytes(get(entry, 32)),
                last_lba: u64::from_le_bytes(get(entry, 40)),
            };
            (Guid(get(entry, 0)), partition)
        })
}

/// Our partitions in a table, by type GUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// EFI system partition.
    pub esp: Option<Partition>,
    /// Boot record and event ring.
    pub state: Option<Partition>,
    /// Boot partitions of slots A and B.
    pub boot: [Option<Partition>; 2],
    /// Root partitions of slots A and B.
    pub root: [Option<Partition>; 2],
    /// Recovery.
    pub recovery: Option<Partition>,
    /// The user's data.
    pub data: Option<Partition>,
}

impl Partitions {
    /// Returns our partitions in an array of entries. *Pure.*
    ///
    /// Another system on the disk may have an EFI system partition, too. Ours is the one that ends
    /// where `rayos-state` begins, as in all our layouts; without such a one, it is the first. All
    /// others are skipped.
    ///
    /// # Errors
    /// [`GptError::Damaged`] if the array does not belong to `header`; [`GptError::Field`] for a
    /// partition of ours outside the usable range; [`GptError::Duplicate`] if one of our types
    /// occurs twice.
    pub fn find(header: &Header, array: &[u8]) -> Result<Self, GptError> {
        let array = array.get(..header.array_len).ok_or(GptError::Damaged)?;
        if crc32fast::hash(array) != header.array_crc {
            return Err(GptError::Damaged);
        }
        Self::pick(header, array)
    }

    /// Picks our partitions out of an array whose checksum was compared with that in `header`.
    pub(super) fn pick(header: &Header, array: &[u8]) -> Result<Self, GptError> {
        let mut found = Self {
            disk_guid: header.disk_guid,
            ..Self::default()
        };
        for (kind, partition) in entries(array) {
            let Some(name) = PartitionName::with_type(kind) else {
                continue;
            };
            // Other systems have EFI system partitions of their own: see below.
            if name == PartitionName::Esp {
                continue;
            }
            let place = found.get_mut(name);
            if place.is_some() {
                return Err(GptError::Duplicate(name));
            }
            *place = Some(partition.inside(header.usable)?);
        }
        let ends_at_state = |esp: &Partition| {
            found
                .state
                .is_some_and(|state| esp.last_lba.checked_add(1) == Some(state.first_lba))
        };
        let esps = || {
            entries(array)
                .filter(|(kind, _)| *kind == PartitionName::Esp.type_guid())
                .map(|(_, esp)| esp)
        };
        let esp = esps().find(ends_at_state).or_else(|| esps().next());
        found.esp = esp.map(|esp| esp.inside(header.usable)).transpose()?;
        Ok(found)
    }

    /// Returns the boot partition of `slot`. *Pure.*
    #[must_use]
    pub const fn boot(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.boot;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Returns the root partition of `slot`. *Pure.*
    #[must_use]
    pub const fn root(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.root;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Returns the partition with this name. *Pure.*
    #[must_use]
    pub const fn get(&self, name: PartitionName) -> Option<Partition> {
        match name {
            PartitionName::Esp => self.esp,
            PartitionName::State => self.state,
            PartitionName::BootA => self.boot(Slot::A),
            PartitionName::BootB => self.boot(Slot::B),
            PartitionName::RootA => self.root(Slot::A),
            PartitionName::RootB => self.root(Slot::B),
            PartitionName::Recovery => self.recovery,
            PartitionName::Data => self.data,
        }
    }

    fn get_mut(&mut self, name: PartitionName) -> &mut Option<Partition> {
        let [boot_a, boot_b] = &mut self.boot;
        let [root_a, root_b] = &mut self.root;
        match name {
            PartitionName::Esp => &mut self.esp,
            PartitionName::State => &mut self.state,
            PartitionName::BootA => boot_a,
            PartitionName::BootB => boot_b,
            PartitionName::RootA => root_a,
            PartitionName::RootB => root_b,
            PartitionName::Recovery => &mut self.recovery,
            PartitionName::Data => &mut self.data,
        }
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
        Partitions::find(&header, &array)
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
        assert_eq!(
            found(&[ours, state, state]),
            Err(GptError::Duplicate(PartitionName::State))
        );
        let types: Vec<_> = [BOOT_A_TYPE, DATA_TYPE].map(|kind| (kind, 33, 40)).to_vec();
        assert_eq!(found(&types), Err(GptError::Field("partition range")));
    }
}
