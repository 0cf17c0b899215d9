//! Which disks there are, and which of them the running system was started from.

use super::disk_node::{DiskNode, optical_drive};
use crate::disk::Disk;
use crate::disk::device::{Access, FileDevice, SectorSize};
use record::gpt::Partition;
use record::{Guid, Handoff};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a disk or partition was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The list of block devices in sysfs cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the list.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The guard started this system from a medium without a state partition.
    #[error("this system was started from a medium without a boot record")]
    NoRecord,
    /// No disk has that GUID and a partition with that PARTUUID.
    #[error("no disk {disk} with partition {partition}")]
    NotFound {
        /// GUID of the disk.
        disk: Guid,
        /// PARTUUID of the partition.
        partition: Guid,
    },
    /// Two disks have the same GUID and state partition: one is a copy of the other.
    #[error("disk {disk}: found twice: {} and {}", first.display(), second.display())]
    Twice {
        /// GUID of both.
        disk: Guid,
        /// The first disk.
        first: PathBuf,
        /// The second disk.
        second: PathBuf,
    },
    /// The kernel does not show the partition, or shows it at another place on the disk.
    #[error("{disk}: the kernel does not show partition {number}")]
    NoPartition {
        /// Name of the disk.
        disk: String,
        /// Number of the partition.
        number: u32,
    },
}

/// The block devices of a running system.
#[derive(Clone, Debug)]
pub struct BlockDevices {
    block: PathBuf,
    dev: PathBuf,
}

impl Default for BlockDevices {
    fn default() -> Self {
        Self::new(Path::new("/sys"), Path::new("/dev"))
    }
}

impl BlockDevices {
    /// The devices shown in sysfs at `sys`, with device nodes under `dev`. *Pure*: nothing is read
    /// yet.
    #[must_use]
    pub fn new(sys: &Path, dev: &Path) -> Self {
        Self {
            block: sys.join("block"),
            dev: dev.to_owned(),
        }
    }

    /// Returns all disks, in the order of their names. *Reads.* [`crate::sysfs`] says which block
    /// devices are disks. A disk that goes away meanwhile is left out.
    ///
    /// # Errors
    /// [`FindError::Io`] if the list cannot be read.
    pub fn disks(&self) -> Result<Vec<DiskNode>, FindError> {
        let failed = |source| FindError::Io {
            path: self.block.clone(),
            source,
        };
        let mut disks = Vec::new();
        for entry in fs::read_dir(&self.block).map_err(failed)? {
            let folder = entry.map_err(failed)?.path();
            disks.extend(DiskNode::read(&folder, &self.dev));
        }
        disks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(disks)
    }

    /// Returns kernel name and device node of each optical drive with a disc in it, in the order of
    /// their names. *Reads.*
    ///
    /// # Errors
    /// [`FindError::Io`] if the list cannot be read.
    pub fn optical_drives(&self) -> Result<Vec<(String, PathBuf)>, FindError> {
        let failed = |source| FindError::Io {
            path: self.block.clone(),
            source,
        };
        let mut drives = Vec::new();
        for entry in fs::read_dir(&self.block).map_err(failed)? {
            let folder = entry.map_err(failed)?.path();
            drives.extend(optical_drive(&folder, &self.dev));
        }
        drives.sort_unstable();
        Ok(drives)
    }

    /// Returns the disk that the guard started this system from. *Reads* the partition table of
    /// each disk.
    ///
    /// # Errors
    /// [`FindError::NoRecord`] for an installation medium, [`FindError::NotFound`], and
    /// [`FindError::Twice`] if two disks have its GUID and state partition.
    pub fn booted(&self, handoff: &Handoff) -> Result<DiskNode, FindError> {
        let (disk, state) = (handoff.disk_guid, handoff.state_uuid);
        if state == Guid::ZERO {
            return Err(FindError::NoRecord);
        }
        let mut found: Option<DiskNode> = None;
        for node in self.disks()? {
            if !is_disk(&node, disk, state) {
                continue;
            }
            if let Some(first) = found {
                return Err(FindError::Twice {
                    disk,
                    first: first.path,
                    second: node.path,
                });
            }
            found = Some(node);
        }
        found.ok_or(FindError::NotFound {
            disk,
            partition: state,
        })
    }

    /// Returns the device node of `partition` on the disk `on`. *Reads.* A partition that the
    /// kernel shows with this number must also be at the same place as in the table.
    ///
    /// # Errors
    /// [`FindError::NoPartition`] if it is not there, or not there yet.
    pub fn partition(
        &self,
        on: &DiskNode,
        disk: &Disk,
        partition: &Partition,
    ) -> Result<PathBuf, FindError> {
        let sector = u64::from(disk.device().sector_size());
        let start = partition.first_lba.checked_mul(sector);
        let size = partition.sectors().checked_mul(sector);
        let current = DiskNode::read(&self.block.join(&on.name), &self.dev);
        let partitions = current.map(|disk| disk.partitions).unwrap_or_default();
        let found = partitions.into_iter().find(|shown| {
            shown.number == partition.number
                && (Some(shown.start), Some(shown.size)) == (start, size)
                && shown.path.exists()
        });
        found.map(|shown| shown.path).ok_or(FindError::NoPartition {
            disk: on.name.clone(),
            number: partition.number,
        })
    }
}

/// Returns whether the disk has this GUID and state partition. A disk that cannot be read has not.
fn is_disk(node: &DiskNode, guid: Guid, state: Guid) -> bool {
    let Ok(device) = FileDevice::open(&node.path, Access::Read, SectorSize::Detect) else {
        return false;
    };
    let Ok(disk) = Disk::open(Arc::new(device)) else {
        return false;
    };
    disk.guid() == guid
        && disk
            .partitions()
            .state
            .is_some_and(|partition| partition.uuid == state)
}
