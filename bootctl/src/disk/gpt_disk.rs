//! A disk with our partitions on it.

use crate::disk::device::{BlockDevice, is_inside};
use crate::disk::window::Window;
use record::gpt::{GptError, Header, Partition, Partitions};
use record::{Guid, Slot};
use std::io;
use std::sync::Arc;

/// Which of the two partition tables was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The one at the beginning of the disk.
    Primary,
    /// The one at its end, since the primary is damaged for this reason.
    Backup(GptError),
}

/// Why a disk is not one of ours, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The device gave an error.
    #[error("{what}: {source}")]
    Io {
        /// What was read.
        what: &'static str,
        /// What the device said.
        source: io::Error,
    },
    /// Neither partition table is usable.
    #[error("primary: {primary}; backup: {backup}")]
    NoTable {
        /// Why not the primary.
        primary: GptError,
        /// Why not the backup.
        backup: GptError,
    },
    /// A partition of ours is not there.
    #[error("no {0} partition")]
    Missing(&'static str),
    /// A partition reaches beyond the end of the device.
    #[error("partition {number} ends beyond the end of the disk")]
    Beyond {
        /// Number of the partition.
        number: u32,
    },
}

/// A disk with a partition table that was read once.
#[derive(Clone)]
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    partitions: Partitions,
    table: Table,
}

impl Disk {
    /// Reads the partition table: the primary pair of header and entries, else the backup pair.
    /// *Reads.*
    ///
    /// # Errors
    /// [`DiskError::NoTable`] if neither pair is usable.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self, DiskError> {
        let sectors = device.len() / u64::from(device.sector_size());
        let primary = match read_table(device.as_ref(), 1, sectors)? {
            Ok(partitions) => {
                return Ok(Self {
                    device,
                    partitions,
                    table: Table::Primary,
                });
            }
            Err(error) => error,
        };
        match read_table(device.as_ref(), sectors.saturating_sub(1), sectors)? {
            Ok(partitions) => Ok(Self {
                device,
                partitions,
                table: Table::Backup(primary),
            }),
            Err(backup) => Err(DiskError::NoTable { primary, backup }),
        }
    }

    /// The device under it.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// GUID of the disk.
    #[must_use]
    pub const fn guid(&self) -> Guid {
        self.partitions.disk_guid
    }

    /// Our partitions.
    #[must_use]
    pub const fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// Which table was used.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.table
    }

    /// The bytes of `partition` and no others. *Pure.*
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

    /// The state partition.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn state(&self) -> Result<Window, DiskError> {
        self.part(self.partitions.state, "rayos-state")
    }

    /// The boot partition of `slot`.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn boot(&self, slot: Slot) -> Result<Window, DiskError> {
        let name = ["boot-a", "boot-b"];
        self.part(self.partitions.boot(slot), name[slot as usize])
    }

    /// The root partition of `slot`.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn root(&self, slot: Slot) -> Result<Window, DiskError> {
        let name = ["root-a", "root-b"];
        self.part(self.partitions.root(slot), name[slot as usize])
    }

    /// The recovery partition.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn recovery(&self) -> Result<Window, DiskError> {
        self.part(self.partitions.recovery, "recovery")
    }

    /// The EFI system partition.
    ///
    /// # Errors
    /// [`DiskError::Missing`], [`DiskError::Beyond`].
    pub fn esp(&self) -> Result<Window, DiskError> {
        self.part(self.partitions.esp, "EFI system")
    }

    fn part(&self, partition: Option<Partition>, name: &'static str) -> Result<Window, DiskError> {
        self.window(partition.ok_or(DiskError::Missing(name))?)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            partitions, table, ..
        } = self;
        f.debug_struct("Disk")
            .field("partitions", partitions)
            .field("table", table)
            .finish_non_exhaustive()
    }
}

/// One header and its entries; the inner error is a table that is not usable, the outer one a
/// broken device.
fn read_table(
    device: &dyn BlockDevice,
    lba: u64,
    sectors: u64,
) -> Result<Result<Partitions, GptError>, DiskError> {
    let size = u64::from(device.sector_size());
    if lba >= sectors {
        return Ok(Err(GptError::NotAHeader));
    }
    let mut sector = vec![0; size as usize];
    let read = |offset, into: &mut [u8]| {
        device
            .read_at(offset, into)
            .map_err(|source| DiskError::Io {
                what: "partition table",
                source,
            })
    };
    read(lba.saturating_mul(size), &mut sector)?;
    let header = match Header::parse(&sector, lba, sectors) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let mut array = vec![0; header.array_len];
    let at = header.array_lba.saturating_mul(size);
    if !is_inside(at, array.len(), device.len()) {
        return Ok(Err(GptError::Field("position of the entries")));
    }
    read(at, &mut array)?;
    Ok(Partitions::find(&header, &array))
}
