//! The table that a disk has. All of its bytes belong to someone else, and none of them is trusted.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use bootctl::device::BlockDevice;
use record::gpt::{CopyError, ENTRY_LEN, GptError, TableCopy, entries};
use record::{Guid, PartitionName, ReadAt};
use seal::field::get;
use std::io;

/// Type of the entry in a protective MBR that stands for the whole GPT (UEFI 2.10, 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// Why partitions cannot be added to the table of a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableTable {
    /// Neither copy of the table is valid.
    #[error("it has no GPT to install beside (primary: {primary}; backup: {backup})")]
    NoTable {
        /// Why not the primary.
        primary: GptError,
        /// Why not the backup.
        backup: GptError,
    },
    /// The MBR has partitions and does not announce the GPT: another program may have replaced the
    /// GPT by them.
    #[error("its MBR has partitions and does not protect its GPT: one of the two is outdated")]
    NotProtected,
    /// A part of it cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The copies do not name each other, as on a disk that has grown.
    #[error("its partition table names sector {found} for the other copy, expected {expected}")]
    OtherCopy {
        /// Sector that the table names.
        found: u64,
        /// Sector where it must be.
        expected: u64,
    },
    /// A copy of the entries is in the range for partitions, or has no room.
    #[error(
        "the {copy} entries of its partition table are at sectors {first} to {last}, partitions \
         may use {} to {}",
        usable.0,
        usable.1
    )]
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
    /// There are not enough unused entries.
    #[error("its partition table has {free} unused entries, expected 8 or more")]
    Entries {
        /// Number of unused entries.
        free: usize,
    },
}

/// A used entry, as it is on the disk.
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
    /// Last sector; not checked, may be lower than the first or outside the disk.
    pub last_lba: u64,
    /// Label; units that are not UTF-16 are replaced.
    pub name: String,
}

/// Where a copy of the table is, and the sectors of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyLocation {
    /// Sector of the header.
    pub(super) header_lba: u64,
    /// First sector of the entries.
    pub(super) array_lba: u64,
    /// All sectors that hold entries, as they are now.
    pub(super) sectors: Vec<u8>,
}

/// The table of a disk, with the location of both copies.
#[derive(Clone, Debug)]
pub struct ExistingTable {
    pub(super) sector_size: u64,
    sectors: u64,
    /// The valid copy; the primary one if both are.
    pub(super) source: TableCopy,
    /// Whether the backup is the source, because the primary is not valid.
    pub(super) from_backup: bool,
    /// Primary and backup.
    pub(super) copies: [CopyLocation; 2],
    /// First and last sectors of the partitions in a hybrid MBR.
    legacy: Vec<(u64, u64)>,
    /// Whether the MBR has no partitions, or announces the GPT.
    is_protected: bool,
}

impl ExistingTable {
    /// Reads the table of `device`: the primary copy, or the backup copy if the primary cannot be
    /// read or is not valid. *Reads.*
    ///
    /// # Errors
    /// The outer error is the device's; the inner one is [`UnusableTable::NoTable`].
    pub fn read(device: &dyn BlockDevice) -> io::Result<Result<Self, UnusableTable>> {
        Self::read_from(device, device.sector_size())
    }

    /// Reads the table of `disk`, which has sectors of `sector_size` bytes; see [`Self::read`].
    pub(super) fn read_from<D: ReadAt<Error = io::Error> + ?Sized>(
        disk: &D,
        sector_size: u32,
    ) -> io::Result<Result<Self, UnusableTable>> {
        let size = u64::from(sector_size).max(512);
        let sectors = disk.size().checked_div(size).unwrap_or(0);
        let last = sectors.saturating_sub(1);
        let primary = TableCopy::read(disk, sector_size, 1);
        let backup = TableCopy::read(disk, sector_size, last);
        let array_lbas = array_lbas(&primary, &backup, last, size);
        let from_backup = primary.is_err();
        let source = match (primary, backup) {
            (Ok(primary), _) => primary,
            (Err(_), Ok(backup)) => backup,
            // A copy that cannot be read may be valid: what the disk holds is not known.
            (Err(CopyError::Io(error)), Err(_)) | (Err(_), Err(CopyError::Io(error))) => {
                return Err(error);
            }
            (Err(CopyError::Gpt(primary)), Err(CopyError::Gpt(backup))) => {
                return Ok(Err(UnusableTable::NoTable { primary, backup }));
            }
        };
        let len = source.array.len().next_multiple_of(size as usize);
        let location = |header_lba, array_lba: u64| {
            let mut sectors = vec![0; len];
            disk.read_at(array_lba.saturating_mul(size), &mut sectors)?;
            Ok::<_, io::Error>(CopyLocation {
                header_lba,
                array_lba,
                sectors,
            })
        };
        let [primary_lba, backup_lba] = array_lbas;
        let mbr = mbr_partitions(disk, size)?;
        Ok(Ok(Self {
            sector_size: size,
            sectors,
            copies: [location(1, primary_lba)?, location(last, backup_lba)?],
            source,
            from_backup,
            is_protected: mbr.is_empty() || mbr.iter().any(|it| it.kind == PROTECTIVE),
            legacy: legacy(&mbr),
        }))
    }

    /// Returns the number of bytes in a sector. *Pure.*
    #[must_use]
    pub const fn sector_size(&self) -> u64 {
        self.sector_size
    }

    /// Returns the GUID of the disk. *Pure.*
    #[must_use]
    pub const fn disk_guid(&self) -> Guid {
        self.source.header.disk_guid
    }

    /// Returns the first and last sector that partitions may use. *Pure.*
    #[must_use]
    pub const fn usable(&self) -> (u64, u64) {
        self.source.header.usable
    }

    /// Returns the reasons why the copies cannot be written where they are. *Pure.*
    #[must_use]
    pub fn problems(&self) -> Vec<UnusableTable> {
        let (last, usable) = (self.sectors.saturating_sub(1), self.usable());
        let mut found = Vec::new();
        if !self.is_protected {
            found.push(UnusableTable::NotProtected);
        }
        let expected = if self.from_backup { 1 } else { last };
        let other = self.source.header.other_lba;
        if other != expected {
            found.push(UnusableTable::OtherCopy {
                found: other,
                expected,
            });
        }
        let [primary, backup] = &self.copies;
        for (copy, location, from, to) in [
            ("primary", primary, 2, usable.0),
            ("backup", backup, usable.1.saturating_add(1), last),
        ] {
            let first = location.array_lba;
            let count = (location.sectors.len() as u64)
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

    /// Returns the used entries. *Pure.*
    pub fn entries(&self) -> impl Iterator<Item = TableEntry> + '_ {
        let array = &self.source.array;
        let used = entries(array).zip(array.chunks_exact(ENTRY_LEN as usize));
        used.filter(|((kind, _), _)| *kind != Guid::ZERO)
            .map(|((kind, partition), bytes)| TableEntry {
                number: partition.number,
                kind,
                uuid: partition.uuid,
                first_lba: partition.first_lba,
                last_lba: partition.last_lba,
                name: label(bytes.get(56..).unwrap_or_default()),
            })
    }

    /// Returns the numbers of the unused entries, lowest first. *Pure.*
    pub fn unused(&self) -> impl Iterator<Item = u32> + '_ {
        entries(&self.source.array)
            .filter(|(kind, _)| *kind == Guid::ZERO)
            .map(|(_, partition)| partition.number)
    }

    /// Returns the entries of a RayOS installation: those with its types, and the EFI system
    /// partition that ends where `rayos-state` begins. *Pure.*
    #[must_use]
    pub fn ours(&self) -> Vec<TableEntry> {
        let starts: Vec<u64> = self
            .entries()
            .filter(|entry| entry.kind == record::STATE_TYPE)
            .map(|entry| entry.first_lba)
            .collect();
        let is_ours = |entry: &TableEntry| match PartitionName::with_type(entry.kind) {
            Some(PartitionName::Esp) => {
                let end = entry.last_lba.checked_add(1);
                end.is_some_and(|end| starts.contains(&end))
            }
            Some(_) => true,
            None => false,
        };
        self.entries().filter(is_ours).collect()
    }

    /// Returns the entries of other systems. *Pure.*
    #[must_use]
    pub fn others(&self) -> Vec<TableEntry> {
        let ours = self.ours();
        self.entries()
            .filter(|entry| !ours.contains(entry))
            .collect()
    }

    /// Returns the first and last sectors of everything that is not ours: partitions of other
    /// systems, however implausible, and of a hybrid MBR. *Pure.*
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

/// Returns the first sector of the entries of each copy: where they are if the copy is valid, at
/// the usual place otherwise.
fn array_lbas<E>(
    primary: &Result<TableCopy, E>,
    backup: &Result<TableCopy, E>,
    last: u64,
    sector_size: u64,
) -> [u64; 2] {
    let primary_lba = primary.as_ref().map_or(2, |copy| copy.header.array_lba);
    let backup_lba = backup.as_ref().map_or(0, |copy| copy.header.array_lba);
    let Ok(primary) = primary else {
        return [primary_lba, backup_lba];
    };
    let len = primary.array.len();
    if backup
        .as_ref()
        .is_ok_and(|backup| backup.array.len() == len)
    {
        return [primary_lba, backup_lba];
    }
    let count = (len as u64).div_ceil(sector_size.max(1));
    [primary_lba, last.saturating_sub(count)]
}

/// A used entry of an MBR.
struct MbrPartition {
    kind: u8,
    first: u64,
    sectors: u64,
}

/// Returns the used entries of the MBR, the one that stands for the GPT included.
fn mbr_partitions<D: ReadAt<Error = io::Error> + ?Sized>(
    disk: &D,
    sector_size: u64,
) -> io::Result<Vec<MbrPartition>> {
    let mut mbr = vec![0; sector_size as usize];
    disk.read_at(0, &mut mbr)?;
    if get::<2>(&mbr, 510) != [0x55, 0xaa] {
        return Ok(Vec::new());
    }
    let entries = mbr.get(446..510).unwrap_or_default().chunks_exact(16);
    let entries = entries.map(|entry| {
        let [kind] = get::<1>(entry, 4);
        let [first, sectors] = [8, 12].map(|at| u64::from(u32::from_le_bytes(get(entry, at))));
        MbrPartition {
            kind,
            first,
            sectors,
        }
    });
    Ok(entries
        .filter(|entry| entry.kind != 0 && entry.sectors > 0)
        .collect())
}

/// Returns the first and last sectors of the partitions that the MBR names besides the GPT: a
/// hybrid MBR has some, for old firmware.
fn legacy(mbr: &[MbrPartition]) -> Vec<(u64, u64)> {
    let named = mbr.iter().filter(|entry| entry.kind != PROTECTIVE);
    named
        .map(|entry| {
            let end = entry.first.saturating_add(entry.sectors);
            (entry.first, end.saturating_sub(1))
        })
        .collect()
}

/// Returns a label: UTF-16LE up to a zero.
fn label(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes(get(unit, 0)));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
