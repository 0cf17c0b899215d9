//! A disk with our partitions on it.

use crate::disk::device::BlockDevice;
use crate::disk::window::Window;
use record::gpt::{self, CopyError, Found, NoTable, Partition, Partitions, Search, TableCopy};
use record::{Guid, PartitionName, Slot};
use std::io;
use std::sync::Arc;

/// Why a disk has no partitions of ours, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Neither copy of the partition table can be used.
    #[error("{0}")]
    NoTable(NoTable<io::Error>),
    /// A partition of ours is missing.
    #[error("no {0} partition")]
    Missing(PartitionName),
    /// A partition ends beyond the end of the device.
    #[error("partition {number} ends beyond the end of the disk")]
    Beyond {
        /// Number of the partition.
        number: u32,
    },
}

/// A disk whose partition table was read.
#[derive(Clone)]
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    found: Found,
    copy: Arc<TableCopy>,
    primary_error: Option<Arc<CopyError<io::Error>>>,
}

impl Disk {
    /// Reads the partition table of `device`: the primary copy, or the backup copy if the primary
    /// cannot be read or is not valid. *Reads.*
    ///
    /// # Errors
    /// [`DiskError::NoTable`] if neither copy can be used.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self, DiskError> {
        Self::search(device, Search::Quick)
    }

    /// As [`Disk::open`], with this search for the backup copy. *Reads.*
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn search(device: Arc<dyn BlockDevice>, search: Search) -> Result<Self, DiskError> {
        let table = gpt::search(device.as_ref(), device.sector_size(), search);
        let table = table.map_err(DiskError::NoTable)?;
        Ok(Self {
            device,
            found: table.found,
            copy: Arc::new(table.copy),
            primary_error: table.primary_error.map(Arc::new),
        })
    }

    /// Returns the disk with these partitions, where several have the same type of ours. *Pure.*
    #[must_use]
    pub fn settled(mut self, uuids: &[Guid]) -> Self {
        self.found = self.found.settled(uuids);
        self
    }

    /// Returns the partitions that have a type of ours but are not used; those of EFI system
    /// partitions are not listed, because other systems have some. *Pure.*
    pub fn extra(&self) -> impl Iterator<Item = (PartitionName, Partition)> + '_ {
        let extra = self.found.extra.iter().copied();
        extra.filter(|(name, _)| *name != PartitionName::Esp)
    }

    /// Returns the copy of the partition table that was read. *Pure.*
    #[must_use]
    pub fn table_copy(&self) -> &TableCopy {
        &self.copy
    }

    /// Returns the device. *Pure.*
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Returns the GUID of the disk. *Pure.*
    #[must_use]
    pub const fn guid(&self) -> Guid {
        self.found.partitions.disk_guid
    }

    /// Returns our partitions. *Pure.*
    #[must_use]
    pub const fn partitions(&self) -> &Partitions {
        &self.found.partitions
    }

    /// Returns why the backup copy of the partition table was used; `None` if the primary was used.
    /// *Pure.*
    #[must_use]
    pub fn primary_error(&self) -> Option<&CopyError<io::Error>> {
        self.primary_error.as_deref()
    }

    /// Returns the bytes of `partition` as a device. *Pure.*
    ///
    /// # Errors
    /// [`DiskError::Beyond`] if the device is too short for it.
    pub fn window(&self, partition: Partition) -> Result<Window, DiskError> {
        let size = u64::from(self.device.sector_size());
        let beyond = DiskError::Beyond {
            number: partition.number,
        };
        let range = || {
            let start = partition.first_lba.checked_mul(size)?;
            let len = partition.sectors().checked_mul(size)?;
            (start.checked_add(len)? <= self.device.len()).then_some((start, len))
        };
        let (start, len) = range().ok_or(beyond)?;
        Ok(Window::new(Arc::clone(&self.device), start, len))
    }

    /// Returns the bytes of the partition `name` as a device. *Pure.*
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn partition(&self, name: PartitionName) -> Result<Window, DiskError> {
        self.window(
            self.found
                .partitions
                .get(name)
                .ok_or(DiskError::Missing(name))?,
        )
    }

    /// Returns the state partition. *Pure.*
    ///
    /// # Errors
    /// As [`Disk::partition`].
    pub fn state(&self) -> Result<Window, DiskError> {
        self.partition(PartitionName::State)
    }

    /// Returns the boot partition of `slot`. *Pure.*
    ///
    /// # Errors
    /// As [`Disk::partition`].
    pub fn boot(&self, slot: Slot) -> Result<Window, DiskError> {
        self.partition(PartitionName::boot(slot))
    }

    /// Returns the root partition of `slot`. *Pure.*
    ///
    /// # Errors
    /// As [`Disk::partition`].
    pub fn root(&self, slot: Slot) -> Result<Window, DiskError> {
        self.partition(PartitionName::root(slot))
    }

    /// Returns the recovery partition. *Pure.*
    ///
    /// # Errors
    /// As [`Disk::partition`].
    pub fn recovery(&self) -> Result<Window, DiskError> {
        self.partition(PartitionName::Recovery)
    }

    /// Returns the EFI system partition. *Pure.*
    ///
    /// # Errors
    /// As [`Disk::partition`].
    pub fn esp(&self) -> Result<Window, DiskError> {
        self.partition(PartitionName::Esp)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            found,
            primary_error,
            ..
        } = self;
        f.debug_struct("Disk")
            .field("found", found)
            .field("primary_error", primary_error)
            .finish_non_exhaustive()
    }
}
