//! Disks by sector, and finding our partitions on them.

use crate::image::Source;
use alloc::vec;
use alloc::vec::Vec;
use record::gpt::{GptError, Header, Partition, Partitions};

/// Everything that is read or written is made of blocks of this length; a sector must divide it.
pub const BLOCK: usize = 4096;

/// The medium gave an error, or the place asked for is outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError;

/// A whole disk.
pub trait Disk {
    /// Bytes in a sector.
    fn sector_len(&self) -> usize;
    /// Number of sectors.
    fn sectors(&self) -> u64;
    /// Reads whole sectors from `lba` on.
    ///
    /// # Errors
    /// [`IoError`].
    fn read(&mut self, lba: u64, into: &mut [u8]) -> Result<(), IoError>;
    /// Writes whole sectors from `lba` on; durable only after [`Disk::flush`].
    ///
    /// # Errors
    /// [`IoError`].
    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), IoError>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// [`IoError`]; everything since the last flush is then in doubt.
    fn flush(&mut self) -> Result<(), IoError>;
}

/// Reads `into.len()` bytes, a multiple of [`BLOCK`], from byte `offset` of `partition`.
///
/// # Errors
/// [`IoError`], also for a place outside the partition or not aligned.
pub fn read_at<D: Disk>(
    disk: &mut D,
    partition: &Partition,
    offset: u64,
    into: &mut [u8],
) -> Result<(), IoError> {
    let lba = place(disk, partition, offset, into.len())?;
    disk.read(lba, into)
}

/// Writes `from`, a multiple of [`BLOCK`] long, to byte `offset` of `partition`. Not flushed.
///
/// # Errors
/// [`IoError`], also for a place outside the partition or not aligned.
pub fn write_at<D: Disk>(
    disk: &mut D,
    partition: &Partition,
    offset: u64,
    from: &[u8],
) -> Result<(), IoError> {
    let lba = place(disk, partition, offset, from.len())?;
    disk.write(lba, from)
}

fn place<D: Disk>(
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
    /// The disk it is on.
    pub disk: &'a mut D,
    /// Where.
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

/// Reads the partition table: the primary header with its array, else the backup header with its
/// own. *Reads.*
///
/// # Errors
/// The error of the primary pair, if neither is usable. A sector length that does not divide 4096
/// is one.
pub fn partitions<D: Disk>(disk: &mut D) -> Result<Partitions, GptError> {
    let sector = disk.sector_len();
    if sector < 512 || BLOCK.checked_rem(sector) != Some(0) {
        return Err(GptError::Field("sector length"));
    }
    let last = disk.sectors().checked_sub(1).ok_or(GptError::NotAHeader)?;
    pair(disk, 1).or_else(|primary| pair(disk, last).map_err(|_| primary))
}

fn pair<D: Disk>(disk: &mut D, lba: u64) -> Result<Partitions, GptError> {
    let sector = disk.sector_len();
    let mut bytes: Vec<u8> = vec![0; sector];
    disk.read(lba, &mut bytes)
        .map_err(|IoError| GptError::Damaged)?;
    let header = Header::parse(&bytes, lba, disk.sectors())?;
    let mut array: Vec<u8> = vec![0; header.array_len.next_multiple_of(sector)];
    disk.read(header.array_lba, &mut array)
        .map_err(|IoError| GptError::Damaged)?;
    Partitions::find(&header, &array)
}
