//! A map of a disk: every range of it, and what is there. For people only; no decision uses it.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::file_system::{FileSystem, PROBE_LEN, identify, shown};
use super::layout::{ALIGNMENT, PlannedDisk};
use super::table::{ExistingTable, TableEntry};
use bootctl::device::BlockDevice;
use record::{Guid, PartitionName};
use seal::field::get;
use std::io;

/// Maximum number of partitions of a table that are read and shown.
pub const MAX_SHOWN: usize = 64;

/// The ranges of a disk, in the order of their positions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DiskMap {
    /// Length of the disk in bytes.
    pub size: u64,
    /// Its ranges. They need not cover the disk: a gap below 1 MiB is left out.
    pub regions: Vec<Region>,
}

/// A range of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// What is there.
    pub content: RegionContent,
}

/// What is in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionContent {
    /// Nothing.
    Free,
    /// A partition of RayOS, which exists.
    RayOs(PartitionName),
    /// A partition of RayOS that is to be created.
    New(PartitionName),
    /// A partition of another system, or a file system without a partition.
    Other {
        /// Number of the partition; 0 without one.
        number: u32,
        /// What it is, such as `Windows (NTFS)`, for people.
        what: String,
        /// Its label; empty without one.
        label: String,
    },
}

/// Types of partitions (GUID, system, kind), from the Discoverable Partitions Specification and
/// the documents of the systems.
const TYPES: &[(&str, &str, &str)] = &[
    (
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "",
        "EFI system partition",
    ),
    ("21686148-6449-6e6f-744e-656564454649", "", "BIOS boot"),
    (
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",
        "Windows",
        "reserved",
    ),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Windows", "data"),
    (
        "de94bba4-06d1-4d40-a16a-bfd50179d6ac",
        "Windows",
        "recovery",
    ),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux", ""),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux", "root"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux", "home"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux", "boot"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux", "swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux", "LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux", "RAID"),
    ("ca7d7ccb-63ed-4c53-861c-1742536059cc", "Linux", "LUKS"),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "macOS", "APFS"),
    ("48465300-0000-11aa-aa11-00306543ecac", "macOS", "HFS+"),
    ("fe3a2a5d-4f32-41a7-b725-accc3285a309", "ChromeOS", "kernel"),
    ("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec", "ChromeOS", "root"),
    ("516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD", "UFS"),
    ("516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD", "ZFS"),
];

impl DiskMap {
    /// Returns the map of a disk with nothing on it. *Pure.*
    #[must_use]
    pub fn blank(size: u64) -> Self {
        Self::with_gaps(size, Vec::new())
    }

    /// Reads the map of `device`: its partition table, and the start of up to [`MAX_SHOWN`]
    /// partitions. *Reads*; a partition that cannot be read is shown without its file system.
    ///
    /// # Errors
    /// The error of the device.
    pub fn read(device: &dyn BlockDevice) -> io::Result<Self> {
        let regions = match ExistingTable::read(device)? {
            Ok(table) => gpt(device, &table),
            Err(_) => match mbr(device)? {
                found if !found.is_empty() => found,
                _ => whole(device),
            },
        };
        Ok(Self::with_gaps(device.len(), regions))
    }

    /// Returns the map of a disk as `plan` divides it, given its map now. *Pure.*
    #[must_use]
    pub fn planned(&self, plan: &PlannedDisk) -> Self {
        let is_kept = |region: &&Region| {
            let start = |kept: &super::layout::KeptPartition| kept.offset == region.start;
            let is_other = matches!(region.content, RegionContent::Other { .. });
            is_other && plan.kept.iter().any(start)
        };
        let new = plan.partitions.iter().map(|partition| Region {
            start: partition.offset,
            size: partition.size,
            content: RegionContent::New(partition.purpose),
        });
        let kept = self.regions.iter().filter(is_kept).cloned();
        Self::with_gaps(self.size, kept.chain(new).collect())
    }

    /// Returns the names of the other systems on the disk, each once. *Pure.*
    #[must_use]
    pub fn systems(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for region in &self.regions {
            let RegionContent::Other { what, .. } = &region.content else {
                continue;
            };
            let system = TYPES
                .iter()
                .map(|(_, system, _)| *system)
                .find(|system| !system.is_empty() && what.starts_with(system));
            found.extend(system.filter(|system| !found.contains(system)));
        }
        found
    }

    /// Returns the map with these regions in order, and the free ranges between them.
    fn with_gaps(size: u64, mut regions: Vec<Region>) -> Self {
        regions.sort_by_key(|region| region.start);
        let mut all = Vec::new();
        let mut at = 0;
        let gap = |from: u64, to: u64| {
            let from = from.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
            let len = (to / ALIGNMENT)
                .saturating_mul(ALIGNMENT)
                .saturating_sub(from);
            (len > ALIGNMENT).then_some(Region {
                start: from,
                size: len,
                content: RegionContent::Free,
            })
        };
        for region in regions {
            all.extend(gap(at, region.start));
            at = at.max(region.start.saturating_add(region.size));
            all.push(region);
        }
        all.extend(gap(at, size));
        Self { size, regions: all }
    }
}

fn gpt(device: &dyn BlockDevice, table: &ExistingTable) -> Vec<Region> {
    let ours = table.ours();
    let sector = table.sector_size();
    let region = |entry: TableEntry| {
        let (first, last) = (entry.first_lba, entry.last_lba.max(entry.first_lba));
        let start = first.saturating_mul(sector);
        let sectors = last.saturating_sub(first).saturating_add(1);
        let name = PartitionName::with_type(entry.kind).filter(|_| ours.contains(&entry));
        let content = match name {
            Some(name) => RegionContent::RayOs(name),
            None => other(&entry, probe(device, start)),
        };
        Region {
            start,
            size: sectors
                .saturating_mul(sector)
                .min(device.len().saturating_sub(start)),
            content,
        }
    };
    table.entries().take(MAX_SHOWN).map(region).collect()
}

/// Returns what a partition of another system is, from its type and its file system.
fn other(entry: &TableEntry, found: Option<FileSystem>) -> RegionContent {
    let (system, kind) = system_of(entry.kind);
    let (fs, fs_label) = found.map_or_else(Default::default, |it| (it.kind, it.label));
    let detail = match (kind, fs) {
        ("", fs) | ("data", fs @ ("NTFS" | "BitLocker")) => fs.to_owned(),
        (kind, fs) if fs.is_empty() || kind == fs => kind.to_owned(),
        (kind, fs) => format!("{kind}, {fs}"),
    };
    // Sticks and cards have Microsoft's type for data, too: only NTFS is taken for Windows.
    let system = match (system, kind) {
        ("Windows", "data") if !matches!(fs, "NTFS" | "BitLocker") => "",
        (system, _) => system,
    };
    let what = match (system, detail.as_str()) {
        ("", "") => "unknown".to_owned(),
        ("", detail) => detail.to_owned(),
        (system, "") => system.to_owned(),
        (system, detail) => format!("{system} ({detail})"),
    };
    let name = shown(&entry.name);
    RegionContent::Other {
        number: entry.number,
        what,
        label: if fs_label.is_empty() { name } else { fs_label },
    }
}

fn system_of(kind: Guid) -> (&'static str, &'static str) {
    let text = kind.to_string();
    let found = TYPES.iter().find(|(guid, ..)| *guid == text);
    found.map_or(("", ""), |(_, system, kind)| (*system, *kind))
}

/// Returns the four primary partitions of an MBR; nothing if there is no MBR, or only the entry
/// that protects a GPT.
fn mbr(device: &dyn BlockDevice) -> io::Result<Vec<Region>> {
    let sector = u64::from(device.sector_size());
    let mut bytes = vec![0; sector as usize];
    device.read_at(0, &mut bytes)?;
    // A FAT or NTFS file system without a partition table has the same two bytes at this place.
    if get::<2>(&bytes, 510) != [0x55, 0xaa] || identify(&bytes).is_some() {
        return Ok(Vec::new());
    }
    let entries = bytes.get(446..510).unwrap_or_default().chunks_exact(16);
    let region = |(number, entry): (u32, &[u8])| {
        let [kind] = get::<1>(entry, 4);
        let [first, count] = [8, 12].map(|at| u64::from(u32::from_le_bytes(get(entry, at))));
        let start = first.saturating_mul(sector);
        if matches!(kind, 0 | 0xee) || count == 0 || start >= device.len() {
            return None;
        }
        let fs = probe(device, start).unwrap_or(FileSystem {
            kind: "",
            label: String::new(),
        });
        let what = match (kind, fs.kind) {
            (0x07 | 0x27, fs @ ("NTFS" | "BitLocker")) => format!("Windows ({fs})"),
            (0x05 | 0x0f, _) => "extended partition".to_owned(),
            (0x82 | 0x83 | 0x8e | 0xfd, "") => "Linux".to_owned(),
            (0x82 | 0x83 | 0x8e | 0xfd, fs) => format!("Linux ({fs})"),
            (_, "") => "unknown".to_owned(),
            (_, fs) => fs.to_owned(),
        };
        Some(Region {
            start,
            size: count
                .saturating_mul(sector)
                .min(device.len().saturating_sub(start)),
            content: RegionContent::Other {
                number,
                what,
                label: fs.label,
            },
        })
    };
    Ok((1..).zip(entries).filter_map(region).collect())
}

/// Returns the file system that fills a disk without partitions.
fn whole(device: &dyn BlockDevice) -> Vec<Region> {
    let region = |found: FileSystem| Region {
        start: 0,
        size: device.len(),
        content: RegionContent::Other {
            number: 0,
            what: found.kind.to_owned(),
            label: found.label,
        },
    };
    probe(device, 0).map(region).into_iter().collect()
}

fn probe(device: &dyn BlockDevice, start: u64) -> Option<FileSystem> {
    let len = device.len().saturating_sub(start).min(PROBE_LEN as u64);
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    device.read_at(start, &mut bytes).ok()?;
    identify(&bytes)
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "test code may panic"
)]
mod tests {
    use super::*;
    use bootctl::device::MemDevice;
    use fixtures::partition_table::{Partition, table};
    use proptest::prelude::{any, prop_assert, proptest};

    const MIB: u64 = 1 << 20;

    fn lines(map: &DiskMap) -> Vec<String> {
        let line = |region: &Region| {
            let content = match &region.content {
                RegionContent::Other { what, label, .. } => format!("{what} [{label}]"),
                other => format!("{other:?}"),
            };
            format!("{} {content}", region.size / MIB)
        };
        map.regions.iter().map(line).collect()
    }

    fn windows() -> MemDevice {
        let device = MemDevice::new(64 << 20, 512);
        let entry = |kind: &str, mib: u64, byte| Partition {
            type_guid: Guid::parse(kind).expect("guid").0,
            guid: [byte; 16],
            len: mib * MIB,
        };
        let entries = [
            entry("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 4, 1),
            entry("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", 16, 2),
            entry("0fc63daf-8483-4772-8e79-3d69d8477de4", 8, 3),
        ];
        for (at, bytes) in table(64 * MIB, 512, [7; 16], &entries) {
            device.write_at(at, &bytes).expect("write");
        }
        let put = |at, bytes: &[u8]| device.write_at(at, bytes).expect("write");
        put(MIB + 82, b"FAT32   ");
        put(MIB + 71, b"SYSTEM     ");
        put(5 * MIB + 3, b"NTFS    ");
        put(21 * MIB, b"LUKS\xba\xbe\0\x02");
        device
    }

    #[test]
    fn other_systems_are_named_with_their_file_systems() {
        let map = DiskMap::read(&windows()).expect("map");
        assert_eq!(
            lines(&map),
            [
                "4 EFI system partition, FAT32 [SYSTEM]",
                "16 Windows (NTFS) []",
                "8 Linux (LUKS) []",
                "35 Free",
            ]
        );
        assert_eq!(map.systems(), ["Windows", "Linux"]);
    }

    #[test]
    fn a_disk_with_an_mbr_or_a_bare_file_system_is_not_shown_as_free() {
        let device = MemDevice::new(64 << 20, 512);
        device.write_at(510, &[0x55, 0xaa]).expect("write");
        let entry = [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
        device.write_at(446, &entry).expect("write");
        let map = DiskMap::read(&device).expect("map");
        assert_eq!(lines(&map), ["32 Linux []", "31 Free"]);
        let bare = MemDevice::new(64 << 20, 512);
        bare.write_at(0, b"XFSB").expect("write");
        bare.write_at(108, b"backup").expect("write");
        assert_eq!(
            lines(&DiskMap::read(&bare).expect("map")),
            ["64 XFS [backup]"]
        );
    }

    proptest! {
        #[test]
        fn any_first_sectors_give_a_map_within_the_disk(
            start in proptest::collection::vec(any::<u8>(), 0..4096),
            entries in any::<[u8; 64]>(),
        ) {
            let device = MemDevice::new(8 << 20, 512);
            device.write_at(0, &start).expect("write");
            device.write_at(446, &entries).expect("write");
            device.write_at(510, &[0x55, 0xaa]).expect("write");
            let map = DiskMap::read(&device).expect("map");
            for region in &map.regions {
                prop_assert!(region.start + region.size <= 8 * MIB);
            }
        }
    }
}
