//! Disks by sector, and our partitions on them.

use record::ReadAt;
use record::gpt::{self, Found, NoTable, Partition};

/// Length of the blocks in which everything is read and written. It is a multiple of the sector
/// length.
pub const BLOCK: usize = 4096;

/// The medium returned an error, or the range is outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError;

/// A seal and the image behind it, in a partition or a file.
pub trait Source {
    /// Returns the length in bytes, including the seal.
    fn len(&self) -> u64;
    /// Returns whether it is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads `into.len()` bytes from `offset` on, both multiples of [`BLOCK`]. The last block of a
    /// file is filled up with zeroes.
    ///
    /// # Errors
    /// [`IoError`].
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError>;
}

/// A whole disk.
pub trait Disk {
    /// Returns the bytes in a sector.
    fn sector_len(&self) -> usize;
    /// Returns the number of sectors.
    fn sectors(&self) -> u64;
    /// Reads whole sectors from `lba` on.
    ///
    /// # Errors
    /// [`IoError`].
    fn read(&self, lba: u64, into: &mut [u8]) -> Result<(), IoError>;
    /// Writes whole sectors from `lba` on; durable only after [`Disk::flush`].
    ///
    /// # Errors
    /// [`IoError`].
    ///
    /// # Power loss
    /// Any subset of the sectors written after the last flush may have reached the medium.
    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), IoError>;
    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// [`IoError`]; all writes after the last flush are then in doubt.
    fn flush(&mut self) -> Result<(), IoError>;
}

/// Reads `into.len()` bytes, a multiple of [`BLOCK`], from byte `offset` of `partition`.
///
/// # Errors
/// [`IoError`], also for a range outside the partition or not aligned to sectors.
pub fn read_at<D: Disk>(
    disk: &D,
    partition: &Partition,
    offset: u64,
    into: &mut [u8],
) -> Result<(), IoError> {
    let lba = sector_of(disk, partition, offset, into.len())?;
    disk.read(lba, into)
}

/// Writes `from`, a multiple of [`BLOCK`] long, to byte `offset` of `partition`. *Writes*; durable
/// only after [`Disk::flush`].
///
/// # Errors
/// [`IoError`], also for a range outside the partition or not aligned to sectors.
///
/// # Power loss
/// As [`Disk::write`].
pub fn write_at<D: Disk>(
    disk: &mut D,
    partition: &Partition,
    offset: u64,
    from: &[u8],
) -> Result<(), IoError> {
    let lba = sector_of(disk, partition, offset, from.len())?;
    disk.write(lba, from)
}

fn sector_of<D: Disk>(
    disk: &D,
    partition: &Partition,
    offset: u64,
    len: usize,
) -> Result<u64, IoError> {
    let sector = disk.sector_len() as u64;
    let aligned = |bytes: u64| bytes.checked_rem(sector) == Some(0);
    let len = len as u64;
    if !aligned(offset) || !aligned(len) {
        return Err(IoError);
    }
    let first = offset.checked_div(sector).ok_or(IoError)?;
    let count = len.checked_div(sector).ok_or(IoError)?;
    let end = first.checked_add(count).ok_or(IoError)?;
    if end > partition.sectors() {
        return Err(IoError);
    }
    partition.first_lba.checked_add(first).ok_or(IoError)
}

/// A boot or recovery partition as the source of an image.
#[derive(Debug)]
pub struct PartitionSource<'a, D> {
    /// The disk.
    pub disk: &'a D,
    /// The partition on it.
    pub partition: Partition,
}

impl<D: Disk> Source for PartitionSource<'_, D> {
    fn len(&self) -> u64 {
        self.partition
            .sectors()
            .saturating_mul(self.disk.sector_len() as u64)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        read_at(self.disk, &self.partition, offset, into)
    }
}

/// Reads the partition table: the primary copy, or the backup copy if the primary cannot be read or
/// is not valid. *Reads.*
///
/// # Errors
/// [`NoTable`], with the reason for each copy.
pub fn partitions<D: Disk>(disk: &D) -> Result<Found, NoTable<IoError>> {
    let sector_size = u32::try_from(disk.sector_len()).unwrap_or(u32::MAX);
    gpt::read(&Bytes(disk), sector_size).map(|table| table.found)
}

/// A disk by byte, for a reader that asks for whole sectors.
struct Bytes<'a, D>(&'a D);

impl<D: Disk> ReadAt for Bytes<'_, D> {
    type Error = IoError;

    fn size(&self) -> u64 {
        self.0.sectors().saturating_mul(self.0.sector_len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        let sector = self.0.sector_len() as u64;
        if offset.checked_rem(sector) != Some(0) {
            return Err(IoError);
        }
        self.0
            .read(offset.checked_div(sector).ok_or(IoError)?, into)
    }
}
