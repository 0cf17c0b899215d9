//! The reader of partition tables, on disks that are damaged in one copy or both.

use record::gpt::{self, CopyError, GptError, Search, TableCopy};
use record::{Guid, PartitionName, ReadAt};

const SECTORS: u64 = 200;
/// Sectors of 128 entries of 128 bytes, in sectors of 512 bytes.
const ARRAY_SECTORS: u64 = 32;

/// A disk in memory, of which some sectors cannot be read.
struct Disk {
    bytes: Vec<u8>,
    size: u32,
    bad: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MediumError(u64);

impl std::fmt::Display for MediumError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "medium error in sector {}", self.0)
    }
}

impl ReadAt for Disk {
    type Error = MediumError;

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), MediumError> {
        let size = u64::from(self.size);
        assert_eq!(
            (offset % size, into.len() as u64 % size),
            (0, 0),
            "whole sectors"
        );
        let sectors = offset / size..(offset + into.len() as u64) / size;
        if let Some(bad) = self.bad.iter().find(|bad| sectors.contains(bad)) {
            return Err(MediumError(*bad));
        }
        let at = offset as usize;
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
        Ok(())
    }
}

impl Disk {
    /// A disk with a table of one state partition, in both copies.
    fn new(size: u32) -> Self {
        let mut disk = Self {
            bytes: vec![0; (SECTORS * u64::from(size)) as usize],
            size,
            bad: Vec::new(),
        };
        let sectors = ARRAY_SECTORS * 512 / u64::from(size);
        let last = SECTORS - 1;
        for (lba, other, array_lba) in [(1, last, 2), (last, 1, last - sectors)] {
            disk.write(lba, other, array_lba);
        }
        disk
    }

    fn write(&mut self, lba: u64, other: u64, array_lba: u64) {
        self.write_header(lba, (lba, other, array_lba), array_lba);
    }

    /// Writes a copy to sector `at`, with its entries before it, whose positions are these.
    fn write_at(&mut self, at: u64, lba: u64, other: u64, array_lba: u64) {
        self.write_header(at, (lba, other, array_lba), at - ARRAY_SECTORS);
    }

    fn write_header(&mut self, at: u64, positions: (u64, u64, u64), array_at: u64) {
        let (lba, other, array_lba) = positions;
        let mut array = vec![0; 128 * 128];
        array[..16].copy_from_slice(&PartitionName::State.type_guid().0);
        array[16..32].copy_from_slice(&[lba as u8; 16]);
        array[32..40].copy_from_slice(&50_u64.to_le_bytes());
        array[40..48].copy_from_slice(&59_u64.to_le_bytes());
        let mut header = vec![0; 92];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [(24, lba), (32, other), (40, 40), (48, 150), (72, array_lba)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].fill(9);
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        let crc = crc32fast::hash(&header).to_le_bytes();
        header[16..20].copy_from_slice(&crc);
        self.put(at, &header);
        self.put(array_at, &array);
    }

    fn put(&mut self, lba: u64, bytes: &[u8]) {
        let at = (lba * u64::from(self.size)) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The PARTUUID of the state partition, which names the copy it was read from, and the reason
    /// why the primary was not used.
    fn state(&self) -> Result<(Guid, Option<CopyError<MediumError>>), String> {
        let table = gpt::read(self, self.size).map_err(|error| error.to_string())?;
        assert_eq!(table.found.partitions.disk_guid, Guid([9; 16]));
        Ok((
            table.found.partitions.state.unwrap().uuid,
            table.primary_error,
        ))
    }
}

const PRIMARY: Guid = Guid([1; 16]);
const BACKUP: Guid = Guid([199; 16]);

#[test]
fn the_primary_copy_is_used_in_sectors_of_any_size() {
    for size in [512, 1024, 2048, 4096] {
        assert_eq!(Disk::new(size).state(), Ok((PRIMARY, None)), "{size}");
    }
}

#[test]
fn the_backup_is_used_when_the_primary_cannot_be_read() {
    for bad in [1, 2, 33] {
        let mut disk = Disk::new(512);
        disk.bad = vec![bad];
        let expected = Some(CopyError::Io(MediumError(bad)));
        assert_eq!(disk.state(), Ok((BACKUP, expected)), "{bad}");
    }
}

#[test]
fn the_backup_is_used_when_the_primary_is_not_valid() {
    type Damage = fn(&mut Disk);
    let cases: [(Damage, GptError); 4] = [
        (|disk| disk.put(1, &[0; 8]), GptError::NotAHeader),
        (|disk| disk.bytes[512 + 60] ^= 1, GptError::Damaged),
        (|disk| disk.bytes[1024 + 5000] ^= 1, GptError::Damaged),
        (
            |disk| disk.write(1, 199, 190),
            GptError::Field("position of the entries"),
        ),
    ];
    for (damage, error) in cases {
        let mut disk = Disk::new(512);
        // The last case writes over the end of the backup entries, so put the backup back.
        damage_primary(&mut disk, damage);
        assert_eq!(disk.state(), Ok((BACKUP, Some(CopyError::Gpt(error)))));
    }
}

fn damage_primary(disk: &mut Disk, damage: fn(&mut Disk)) {
    disk.bytes.resize(300 * 512, 0);
    damage(disk);
    disk.bytes.truncate(200 * 512);
    disk.write(199, 1, 167);
}

#[test]
fn a_disk_without_a_usable_copy_names_both_reasons() {
    let mut disk = Disk::new(512);
    disk.bad = vec![1];
    disk.put(199, &[0; 8]);
    assert_eq!(
        disk.state().unwrap_err(),
        "primary: partition table cannot be read: medium error in sector 1; \
         backup: no partition table"
    );
}

#[test]
fn odd_sectors_and_disks_without_room_are_refused_before_they_are_read() {
    let disk = Disk::new(512);
    for size in [0, 1, 256, 520, 4097, 8192, u32::MAX] {
        let error = gpt::read(&disk, size).unwrap_err();
        assert_eq!(
            error.primary,
            CopyError::Gpt(GptError::Field("sector size"))
        );
    }
    for lba in [0, 200, u64::MAX] {
        let error = TableCopy::read(&disk, 512, lba).unwrap_err();
        assert_eq!(error, CopyError::Gpt(GptError::NotAHeader), "{lba}");
    }
    let empty = Disk {
        bytes: Vec::new(),
        size: 512,
        bad: Vec::new(),
    };
    assert!(gpt::read(&empty, 512).is_err());
}

/// A disk of 3 GiB, of which only some places have been written.
struct Large {
    /// The small disk at the beginning.
    image: Disk,
    backup_lba: u64,
    reads: std::cell::Cell<u32>,
}

const LARGE: u64 = 3 << 30;

impl ReadAt for Large {
    type Error = MediumError;

    fn size(&self) -> u64 {
        LARGE
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), MediumError> {
        self.reads.set(self.reads.get() + 1);
        let moved = self.backup_lba - 199;
        let lba = offset / 512;
        if lba < 100 {
            return self.image.read_at(offset, into);
        }
        into.fill(0);
        if (self.backup_lba - 32..=self.backup_lba).contains(&lba) {
            return self.image.read_at(offset - moved * 512, into);
        }
        Ok(())
    }
}

impl Large {
    /// An image whose backup is in sector `backup_lba`, and whose primary is lost.
    fn new(backup_lba: u64) -> Self {
        let mut image = Disk::new(512);
        image.write(1, backup_lba, 2);
        // The positions in the backup, and where it is stored in the small image.
        let mut header = Disk::new(512);
        header.write_at(199, backup_lba, 1, backup_lba - 32);
        image.bytes[167 * 512..].copy_from_slice(&header.bytes[167 * 512..]);
        image.put(1, &[0; 512]);
        let reads = std::cell::Cell::new(0);
        Self {
            image,
            backup_lba,
            reads,
        }
    }

    fn found(&self, search: Search) -> Option<u64> {
        let table = gpt::search(self, 512, search).ok()?;
        assert!(table.primary_error.is_some());
        Some(table.copy.lba)
    }
}

#[test]
fn the_backup_of_an_image_on_a_larger_disk_is_found_at_a_boundary() {
    const MIB: u64 = 2048;
    for (lba, quick) in [(2048 * MIB - 1, true), (1237 * MIB - 1, false)] {
        let disk = Large::new(lba);
        assert_eq!(disk.found(Search::Quick).is_some(), quick);
        assert!(disk.reads.get() < 200, "{} reads", disk.reads.get());
        assert_eq!(disk.found(Search::Thorough), Some(lba));
    }
}

#[test]
fn a_damaged_primary_and_the_protective_mbr_name_the_backup() {
    let lba = 12_345;
    let mut disk = Large::new(lba);
    disk.image.write(1, lba, 2);
    disk.image.bytes[512 + 60] ^= 1;
    assert_eq!(disk.found(Search::Quick), Some(lba));

    let mut disk = Large::new(lba);
    assert_eq!(disk.found(Search::Quick), None);
    disk.image.put(0, &[0; 512]);
    let mut mbr = [0; 512];
    mbr[450] = 0xee;
    mbr[454..458].copy_from_slice(&1_u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&(lba as u32).to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    disk.image.put(0, &mbr);
    assert_eq!(disk.found(Search::Quick), Some(lba));
}

#[test]
fn a_header_that_names_another_primary_is_no_backup() {
    let mut disk = Disk::new(512);
    disk.put(1, &[0; 8]);
    disk.write(199, 7, 167);
    let error = gpt::read(&disk, 512).unwrap_err();
    let expected = GptError::Field("position of the other header");
    assert_eq!(error.backup, CopyError::Gpt(expected));
}
