//! The reader of partition tables, on disks that are damaged in one copy or both.

use record::gpt::{self, CopyError, GptError, TableCopy};
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
        self.put(lba, &header);
        self.put(array_lba, &array);
    }

    fn put(&mut self, lba: u64, bytes: &[u8]) {
        let at = (lba * u64::from(self.size)) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The PARTUUID of the state partition, which names the copy it was read from, and the reason
    /// why the primary was not used.
    fn state(&self) -> Result<(Guid, Option<CopyError<MediumError>>), String> {
        let table = gpt::read(self, self.size).map_err(|error| error.to_string())?;
        assert_eq!(table.partitions.disk_guid, Guid([9; 16]));
        Ok((table.partitions.state.unwrap().uuid, table.primary_error))
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
