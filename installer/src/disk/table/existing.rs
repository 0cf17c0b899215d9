//! The table that is on a disk already. All of its bytes are somebody else's, and none of them is
//! trusted.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use bootctl::device::BlockDevice;
use record::gpt::{self, ENTRY_LEN, GptError, Header};
use record::{ESP_TYPE, Guid, STATE_TYPE};
use seal::field::get;
use std::io;

/// Types of partitions that no other system has.
const OURS: [Guid; 7] = [
    STATE_TYPE,
    record::BOOT_A_TYPE,
    record::BOOT_B_TYPE,
    record::ROOT_A_TYPE,
    record::ROOT_B_TYPE,
    record::RECOVERY_TYPE,
    record::DATA_TYPE,
];
/// Type of the entry in a protective MBR that stands for the whole GPT (UEFI 2.10, 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// Why a disk has no table to which partitions can be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableTable {
    /// Neither copy of the table is whole.
    #[error("it has no GPT to install beside (primary: {primary}; backup: {backup})")]
    NoTable {
        /// Why not the primary.
        primary: GptError,
        /// Why not the backup.
        backup: GptError,
    },
    /// The copies do not name each other, as on a disk that has grown.
    #[error("its partition table names sector {found} for the other copy, expected {expected}")]
    OtherCopy {
        /// Where the table says that the other copy is.
        found: u64,
        /// Where it has to be.
        expected: u64,
    },
    /// A copy of the entries lies where partitions may lie, or has no room.
    #[error("the {copy} entries of its partition table are at sectors {first} to {last}, partitions may use {} to {}", usable.0, usable.1)]
    Array {
        /// Which copy.
        copy: &'static str,
        /// First sector.
        first: u64,
        /// Last sector.
        last: u64,
        /// First and last sector for partitions.
        usable: (u64, u64),
    },
    /// There are not enough entries that are unused.
    #[error("its partition table has {free} unused entries, expected 8 or more")]
    Entries {
        /// How many there are.
        free: usize,
    },
}

/// An entry that is used, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Its number, from 1.
    pub number: u32,
    /// Its type.
    pub kind: Guid,
    /// PARTUUID.
    pub uuid: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector; may lie before the first, or anywhere.
    pub last_lba: u64,
    /// Label; what is not UTF-16 is replaced.
    pub name: String,
}

/// A copy of the table: where it is, and the sectors that its entries take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableCopy {
    /// Sector of the header.
    pub(super) header_lba: u64,
    /// First sector of the entries.
    pub(super) array_lba: u64,
    /// All sectors that hold entries, as they are now.
    pub(super) sectors: Vec<u8>,
}

/// A table as it was read, with both of its copies.
#[derive(Clone, Debug)]
pub struct ExistingTable {
    pub(super) sector_size: u64,
    sectors: u64,
    pub(super) header: Header,
    /// The sector of the header that counts.
    pub(super) head: Vec<u8>,
    /// The entries that count, and nothing else.
    pub(super) array: Vec<u8>,
    /// Whether the backup counts, since the primary is not whole.
    pub(super) from_backup: bool,
    /// Primary and backup.
    pub(super) copies: [TableCopy; 2],
    /// First and last sectors of what the MBR names besides the GPT.
    legacy: Vec<(u64, u64)>,
}

/// A header with its entries.
struct HeaderAndEntries {
    head: Vec<u8>,
    header: Header,
    array: Vec<u8>,
}

impl ExistingTable {
    /// Reads the table of `device`: the primary pair of header and entries, else the backup pair.
    /// *Reads.*
    ///
    /// # Errors
    /// The outer one is what the device says, the inner one [`UnusableTable::NoTable`].
    pub fn read(device: &dyn BlockDevice) -> io::Result<Result<Self, UnusableTable>> {
        let sector_size = u64::from(device.sector_size()).max(512);
        let sectors = device.len().checked_div(sector_size).unwrap_or(0);
        let last = sectors.saturating_sub(1);
        let primary = HeaderAndEntries::read(device, 1, sectors)?;
        let backup = HeaderAndEntries::read(device, last, sectors)?;
        // Where a copy is whole, its entries stay where they are. Where it is not, they go to the
        // usual place.
        let (mut array_lbas, from_backup) = ([2, 0], primary.is_err());
        let arrays_len = |pair: &HeaderAndEntries| pair.array.len() as u64;
        for (pair, at) in [&primary, &backup].into_iter().zip(array_lbas.iter_mut()) {
            if let Ok(pair) = pair {
                *at = pair.header.array_lba;
            }
        }
        let (source, other) = match (primary, backup) {
            (Ok(primary), backup) => (primary, backup),
            (Err(error), Ok(backup)) => (backup, Err(error)),
            (Err(primary), Err(backup)) => {
                return Ok(Err(UnusableTable::NoTable { primary, backup }));
            }
        };
        let count = arrays_len(&source).div_ceil(sector_size);
        let same_len = other
            .as_ref()
            .is_ok_and(|other| arrays_len(other) == arrays_len(&source));
        if !from_backup && !same_len {
            array_lbas[1] = last.saturating_sub(count);
        }
        let place = |header_lba, array_lba: u64| {
            let mut sectors = vec![0; count.saturating_mul(sector_size) as usize];
            device.read_at(array_lba.saturating_mul(sector_size), &mut sectors)?;
            Ok::<_, io::Error>(TableCopy {
                header_lba,
                array_lba,
                sectors,
            })
        };
        let [primary_lba, backup_lba] = array_lbas;
        Ok(Ok(Self {
            sector_size,
            sectors,
            header: source.header,
            copies: [place(1, primary_lba)?, place(last, backup_lba)?],
            head: source.head,
            array: source.array,
            from_backup,
            legacy: legacy(device)?,
        }))
    }

    /// Bytes in a sector.
    #[must_use]
    pub const fn sector_size(&self) -> u64 {
        self.sector_size
    }

    /// GUID of the disk.
    #[must_use]
    pub const fn disk_guid(&self) -> Guid {
        self.header.disk_guid
    }

    /// First and last sector that partitions may use.
    #[must_use]
    pub const fn usable(&self) -> (u64, u64) {
        self.header.usable
    }

    /// Why both copies cannot be written where they are. *Pure.*
    #[must_use]
    pub fn problems(&self) -> Vec<UnusableTable> {
        let (last, usable) = (self.sectors.saturating_sub(1), self.header.usable);
        let mut found = Vec::new();
        let expected = if self.from_backup { 1 } else { last };
        if self.header.other_lba != expected {
            found.push(UnusableTable::OtherCopy {
                found: self.header.other_lba,
                expected,
            });
        }
        let [primary, backup] = &self.copies;
        for (copy, place, from, to) in [
            ("primary", primary, 2, usable.0),
            ("backup", backup, usable.1.saturating_add(1), last),
        ] {
            let first = place.array_lba;
            let count = (place.sectors.len() as u64)
                .checked_div(self.sector_size)
                .unwrap_or(0);
            let end = first.saturating_add(count);
            if first < from || end > to {
                found.push(UnusableTable::Array {
                    copy,
                    first,
                    last: end.saturating_sub(1),
                    usable,
                });
            }
        }
        found
    }

    /// The entries that are used. *Pure.*
    pub fn entries(&self) -> impl Iterator<Item = TableEntry> + '_ {
        let used = gpt::entries(&self.array).zip(self.array.chunks_exact(ENTRY_LEN as usize));
        used.filter(|((kind, _), _)| *kind != Guid::ZERO)
            .map(|((kind, partition), bytes)| TableEntry {
                number: partition.number,
                kind,
                uuid: partition.uuid,
                first_lba: partition.first_lba,
                last_lba: partition.last_lba,
                name: name(bytes.get(56..).unwrap_or_default()),
            })
    }

    /// The numbers of the entries that are not used, from the lowest on. *Pure.*
    pub fn unused(&self) -> impl Iterator<Item = u32> + '_ {
        gpt::entries(&self.array)
            .filter(|(kind, _)| *kind == Guid::ZERO)
            .map(|(_, partition)| partition.number)
    }

    /// The entries of an installation of ours: those with types of ours, and the EFI system
    /// partition that ends where `rayos-state` begins. *Pure.*
    #[must_use]
    pub fn ours(&self) -> Vec<TableEntry> {
        let starts: Vec<u64> = self
            .entries()
            .filter(|entry| entry.kind == STATE_TYPE)
            .map(|entry| entry.first_lba)
            .collect();
        let our_esp = |entry: &TableEntry| {
            entry.kind == ESP_TYPE
                && entry
                    .last_lba
                    .checked_add(1)
                    .is_some_and(|end| starts.contains(&end))
        };
        self.entries()
            .filter(|entry| OURS.contains(&entry.kind) || our_esp(entry))
            .collect()
    }

    /// The entries of other systems. *Pure.*
    #[must_use]
    pub fn others(&self) -> Vec<TableEntry> {
        let ours = self.ours();
        self.entries()
            .filter(|entry| !ours.contains(entry))
            .collect()
    }

    /// First and last sectors of everything that is not ours: other partitions, and what the MBR
    /// names. *Pure.* Nothing is too odd to be left alone.
    #[must_use]
    pub fn taken(&self) -> Vec<(u64, u64)> {
        let spans = self
            .others()
            .into_iter()
            .map(|entry| (entry.first_lba, entry.last_lba));
        let spans = spans.chain(self.legacy.iter().copied());
        spans
            .map(|(first, last)| (first.min(last), first.max(last)))
            .collect()
    }
}

impl HeaderAndEntries {
    /// The header in sector `lba`, and its entries; the inner error is a pair that is not whole.
    fn read(
        device: &dyn BlockDevice,
        lba: u64,
        sectors: u64,
    ) -> io::Result<Result<Self, GptError>> {
        let sector_size = u64::from(device.sector_size());
        if lba == 0 || lba >= sectors {
            return Ok(Err(GptError::NotAHeader));
        }
        let mut head = vec![0; sector_size as usize];
        device.read_at(lba.saturating_mul(sector_size), &mut head)?;
        let header = match Header::parse(&head, lba, sectors) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let count = (header.array_len as u64).div_ceil(sector_size.max(1));
        if header
            .array_lba
            .checked_add(count)
            .is_none_or(|end| end > sectors)
        {
            return Ok(Err(GptError::Field("position of the entries")));
        }
        let mut array = vec![0; header.array_len];
        device.read_at(header.array_lba.saturating_mul(sector_size), &mut array)?;
        let whole = crc32fast::hash(&array) == header.array_crc;
        Ok(if whole {
            Ok(Self {
                head,
                header,
                array,
            })
        } else {
            Err(GptError::Damaged)
        })
    }
}

/// What the MBR names besides the GPT: a hybrid one has partitions of its own, for firmware of old.
fn legacy(device: &dyn BlockDevice) -> io::Result<Vec<(u64, u64)>> {
    let mut mbr = vec![0; device.sector_size() as usize];
    device.read_at(0, &mut mbr)?;
    if get::<2>(&mbr, 510) != [0x55, 0xaa] {
        return Ok(Vec::new());
    }
    let entries = mbr.get(446..510).unwrap_or_default().chunks_exact(16);
    let spans = entries.filter_map(|entry| {
        let [kind] = get::<1>(entry, 4);
        let [first, count] = [8, 12].map(|at| u64::from(u32::from_le_bytes(get(entry, at))));
        let named = kind != 0 && kind != PROTECTIVE && count > 0;
        named.then(|| (first, first.saturating_add(count).saturating_sub(1)))
    });
    Ok(spans.collect())
}

/// A label: UTF-16LE up to a zero.
fn name(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes(get(unit, 0)));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
