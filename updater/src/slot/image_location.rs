//! The location of an image on a disk.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use record::{PartitionName, Slot};
use seal::SEAL_LEN;
use std::io;

/// The location of one image: a partition, from byte `base` on.
#[derive(Clone, Debug)]
pub(crate) struct ImageLocation {
    pub(crate) partition: PartitionName,
    pub(crate) window: Window,
    pub(crate) base: u64,
}

/// The way of reading a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// Through the page cache, which keeps the bytes for the next read.
    Cache,
    /// From the cache or the medium, for bytes that will not be read again soon.
    Anywhere,
    /// From the medium, bypassing the cache of written bytes.
    Medium,
}

impl ImageLocation {
    /// Returns the location of the boot image of `slot`, behind the seal.
    pub(crate) fn boot(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        Self::behind_seal(disk, PartitionName::boot(slot))
    }

    /// Returns the location of the recovery image, behind the seal.
    pub(crate) fn recovery(disk: &Disk) -> Result<Self, DiskError> {
        Self::behind_seal(disk, PartitionName::Recovery)
    }

    /// Returns the location of the root image of `slot`.
    pub(crate) fn root(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        let partition = PartitionName::root(slot);
        Ok(Self {
            partition,
            window: disk.partition(partition)?,
            base: 0,
        })
    }

    fn behind_seal(disk: &Disk, partition: PartitionName) -> Result<Self, DiskError> {
        Ok(Self {
            partition,
            window: disk.partition(partition)?,
            base: SEAL_LEN as u64,
        })
    }

    /// Returns the offset in the partition of byte `offset` of the image.
    pub(crate) const fn offset(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// Returns whether the partition has room for an image of `len` bytes.
    pub(crate) fn has_room_for(&self, len: u64) -> bool {
        let end = self.base.checked_add(len);
        end.is_some_and(|end| end <= self.window.len())
    }

    /// Reads bytes of the image.
    pub(crate) fn read(&self, from: ReadFrom, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.offset(offset);
        match from {
            ReadFrom::Cache => self.window.read_at(offset, into),
            ReadFrom::Anywhere => self.window.read_once_at(offset, into),
            ReadFrom::Medium => self.window.read_medium_at(offset, into),
        }
    }
}
