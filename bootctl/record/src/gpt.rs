//! Finding our partitions in a GPT (UEFI 2.10, 5.3), for the guard and for `bootctl`; nothing here
//! writes one.
//!
//! The caller reads a header's sector, asks [`Header::parse`] where its entry array is, reads that,
//! and hands it to [`Partitions::find`]. Primary and backup are tried as pairs: a header counts
//! only with its array.

use crate::Guid;
use crate::layout::{
    BOOT_A_TYPE, BOOT_B_TYPE, DATA_TYPE, ESP_TYPE, RECOVERY_TYPE, ROOT_A_TYPE, ROOT_B_TYPE,
    STATE_TYPE,
};
use crate::record::Slot;
use seal::field::get;

/// Longest entry array that is read: 1024 entries of 128 bytes. Stops a hostile header from asking
/// for more.
pub const MAX_ARRAY_LEN: usize = 128 * 1024;
const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Bytes of an entry.
pub const ENTRY_LEN: u32 = 128;

/// The fields of a header that matter to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// First sector of the entry array.
    pub array_lba: u64,
    /// Length of the entry array in bytes, at most [`MAX_ARRAY_LEN`].
    pub array_len: usize,
    /// CRC-32 of the entry array.
    pub array_crc: u32,
    /// Sector of the other header.
    pub other_lba: u64,
    /// First and last sector that partitions may use.
    pub usable: (u64, u64),
}

/// Why a sector is not a usable header, or an array not the header's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// No `EFI PART`.
    NotAHeader,
    /// A CRC does not match.
    Damaged,
    /// A field is outside what this reader accepts.
    Field(&'static str),
    /// Two partitions have the same type of ours.
    Duplicate(&'static str),
}

impl core::fmt::Display for GptError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAHeader => f.write_str("no partition table"),
            Self::Damaged => f.write_str("partition table is damaged"),
            Self::Field(name) => write!(f, "partition table has an unusable {name}"),
            Self::Duplicate(name) => write!(f, "partition table has two {name} partitions"),
        }
    }
}
impl core::error::Error for GptError {}

impl Header {
    /// Checks a header read from sector `lba` of a disk with `sectors` sectors. *Pure.*
    ///
    /// # Errors
    /// [`GptError`].
    pub fn parse(sector: &[u8], lba: u64, sectors: u64) -> Result<Self, GptError> {
        if get::<8>(sector, 0) != SIGNATURE {
            return Err(GptError::NotAHeader);
        }
        let u32_at = |at| u32::from_le_bytes(get(sector, at));
        let u64_at = |at| u64::from_le_bytes(get(sector, at));
        let len = u32_at(12) as usize;
        if !(92..=512).contains(&len) || len > sector.len() {
            return Err(GptError::Field("header size"));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(sector.get(..16).unwrap_or_default());
        crc.update(&[0; 4]);
        crc.update(sector.get(20..len).unwrap_or_default());
        if crc.finalize() != u32_at(16) {
            return Err(GptError::Damaged);
        }
        if u64_at(24) != lba {
            return Err(GptError::Field("own position"));
        }
        if u32_at(84) != ENTRY_LEN {
            return Err(GptError::Field("entry size"));
        }
        let array_len = (u32_at(80) as usize).saturating_mul(ENTRY_LEN as usize);
        if array_len == 0 || array_len > MAX_ARRAY_LEN {
            return Err(GptError::Field("number of entries"));
        }
        let (array_lba, other_lba) = (u64_at(72), u64_at(32));
        if array_lba < 2 || array_lba >= sectors {
            return Err(GptError::Field("position of the entries"));
        }
        let usable = (u64_at(40), u64_at(48));
        if usable.0 > usable.1 || usable.1 >= sectors {
            return Err(GptError::Field("usable range"));
        }
        Ok(Self {
            disk_guid: Guid(get(sector, 56)),
            array_lba,
            array_len,
            array_crc: u32_at(88),
            other_lba,
            usable,
        })
    }
}

/// A partition of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// PARTUUID.
    pub uuid: Guid,
    /// Its number, from 1, as in an HD() device path.
    pub number: u32,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, included.
    pub last_lba: u64,
}

impl Partition {
    /// Number of sectors.
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

/// The entries of an array with their types, also the unused ones. *Pure*; nothing of them is
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

/// The partitions of ours that a table holds, by type GUID.
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
    /// Picks our partitions out of an entry array. *Pure.*
    ///
    /// Another system on the disk has an EFI system partition of its own. Ours is the one that ends
    /// where `rayos-state` begins, as every layout of ours has it; without one there, the first.
    /// All others are passed over.
    ///
    /// # Errors
    /// [`GptError::Damaged`] if the array is not the one of `header`; [`GptError::Field`] for a
    /// partition of ours outside the usable range; [`GptError::Duplicate`] if a type of ours occurs
    /// twice.
    pub fn find(header: &Header, array: &[u8]) -> Result<Self, GptError> {
        let array = array.get(..header.array_len).ok_or(GptError::Damaged)?;
        if crc32fast::hash(array) != header.array_crc {
            return Err(GptError::Damaged);
        }
        let mut found = Self {
            disk_guid: header.disk_guid,
            ..Self::default()
        };
        for (kind, partition) in entries(array) {
            let Some((place, name)) = found.place(kind) else {
                continue;
            };
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
                .filter(|(kind, _)| *kind == ESP_TYPE)
                .map(|(_, esp)| esp)
        };
        let esp = esps().find(ends_at_state).or_else(|| esps().next());
        found.esp = esp.map(|esp| esp.inside(header.usable)).transpose()?;
        Ok(found)
    }

    /// The boot partition of `slot`.
    #[must_use]
    pub const fn boot(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.boot;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// The root partition of `slot`.
    #[must_use]
    pub const fn root(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.root;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    fn place(&mut self, kind: Guid) -> Option<(&mut Option<Partition>, &'static str)> {
        let [boot_a, boot_b] = &mut self.boot;
        let [root_a, root_b] = &mut self.root;
        Some(match kind {
            STATE_TYPE => (&mut self.state, "rayos-state"),
            BOOT_A_TYPE => (boot_a, "boot-a"),
            BOOT_B_TYPE => (boot_b, "boot-b"),
            ROOT_A_TYPE => (root_a, "root-a"),
            ROOT_B_TYPE => (root_b, "root-b"),
            RECOVERY_TYPE => (&mut self.recovery, "recovery"),
            DATA_TYPE => (&mut self.data, "data"),
            _ => return None,
        })
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
    use std::vec;
    use std::vec::Vec;

    const USABLE: (u64, u64) = (34, 9_999);

    /// What is found in a table with these entries: type, first and last sector.
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
        assert_eq!(esp(&[theirs, ours, state]), Some(2), "theirs is first");
        assert_eq!(
            esp(&[state, theirs, ours]),
            Some(3),
            "in any order of entries"
        );
        assert_eq!(esp(&[ours, state, theirs]), Some(1), "ours is first");
        assert_eq!(
            esp(&[theirs, (ESP_TYPE, 500, 599), state]),
            Some(1),
            "none is there: the first"
        );
        assert_eq!(
            esp(&[theirs, (ESP_TYPE, 500, 599)]),
            Some(1),
            "there is no state"
        );
        assert_eq!(
            esp(&[(ESP_TYPE, 200, 298), state]),
            Some(1),
            "a layout with a gap, as nobody makes it"
        );
        assert_eq!(esp(&[state]), None);
    }

    #[test]
    fn an_esp_of_others_that_lies_nowhere_does_not_cost_us_ours() {
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
            Err(GptError::Duplicate("rayos-state"))
        );
        let types: Vec<_> = [BOOT_A_TYPE, DATA_TYPE].map(|kind| (kind, 33, 40)).to_vec();
        assert_eq!(found(&types), Err(GptError::Field("partition range")));
    }
}
