//! Which disk is ours: block devices as the kernel shows them in sysfs and devtmpfs. There is no
//! udev in the initramfs, and kernels before 6.9 do not tell a PARTUUID, so partition tables are
//! read here.

use crate::disk::Disk;
use crate::disk::device::{Access, FileDevice, SectorSize};
use record::gpt::Partition;
use record::{Guid, Handoff};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A whole disk that the kernel shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name in sysfs, such as `sda` or `nvme0n1`.
    pub name: String,
    /// Its device node.
    pub path: PathBuf,
}

/// Why a disk or partition was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The kernel's list of block devices cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The guard started from a medium without a state partition.
    #[error("this system was started from a medium without a boot record")]
    NoRecord,
    /// No disk has that GUID and state partition.
    #[error("no disk {disk} with state partition {state}")]
    NotFound {
        /// GUID of the disk.
        disk: Guid,
        /// PARTUUID of its state partition.
        state: Guid,
    },
    /// Two disks have the same GUID and state partition: one is a copy of the other.
    #[error("disk {disk} is there twice: {} and {}", first.display(), second.display())]
    Twice {
        /// GUID of both.
        disk: Guid,
        /// One of them.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The kernel does not show the partition, or shows it elsewhere on the disk.
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
    class: PathBuf,
    dev: PathBuf,
}

impl Default for BlockDevices {
    fn default() -> Self {
        Self::new(Path::new("/sys"), Path::new("/dev"))
    }
}

impl BlockDevices {
    /// Those shown in sysfs at `sys`, with device nodes under `dev`.
    #[must_use]
    pub fn new(sys: &Path, dev: &Path) -> Self {
        Self {
            class: sys.join("class/block"),
            dev: dev.to_owned(),
        }
    }

    /// All whole disks that firmware could have started from, by name. *Reads.* Loop devices, RAM
    /// disks, device mapper and the like are left out, and so are drives without a medium.
    ///
    /// # Errors
    /// [`FindError::Io`].
    pub fn disks(&self) -> Result<Vec<Node>, FindError> {
        let failed = |source| FindError::Io {
            path: self.class.clone(),
            source,
        };
        let mut disks = Vec::new();
        for entry in fs::read_dir(&self.class).map_err(failed)? {
            let name = entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            let dir = self.class.join(&name);
            let virtual_disk = fs::canonicalize(&dir).is_ok_and(|real| {
                real.components().any(|part| part.as_os_str() == "virtual")
                    && real
                        .parent()
                        .is_some_and(|parent| parent.ends_with("block"))
            });
            let whole = !dir.join("partition").exists() && number(&dir.join("hidden")) != Some(1);
            if whole
                && !virtual_disk
                && number(&dir.join("size")).is_some_and(|sectors| sectors > 0)
            {
                let path = self.node(&dir, &name);
                disks.push(Node { name, path });
            }
        }
        disks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(disks)
    }

    /// The disk that the guard started this system from. *Reads* the partition table of every disk.
    ///
    /// # Errors
    /// [`FindError::NoRecord`] for a stick, [`FindError::NotFound`], [`FindError::Twice`] if a
    /// second disk claims to be the same one.
    pub fn booted(&self, handoff: &Handoff) -> Result<Node, FindError> {
        let (disk, state) = (handoff.disk_guid, handoff.state_uuid);
        if state == Guid::ZERO {
            return Err(FindError::NoRecord);
        }
        let mut found: Option<Node> = None;
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
        found.ok_or(FindError::NotFound { disk, state })
    }

    /// The device node of `partition` on the disk `on`. *Reads.* That the kernel shows a partition
    /// with this number is not enough: it must be at the same place as in the table.
    ///
    /// # Errors
    /// [`FindError::NoPartition`] if it is not there (yet).
    pub fn partition(
        &self,
        on: &Node,
        disk: &Disk,
        partition: &Partition,
    ) -> Result<PathBuf, FindError> {
        let dir = self.class.join(&on.name);
        // sysfs counts in units of 512 bytes, whatever the sectors.
        let unit = u64::from(disk.device().sector_size()) / 512;
        let place = (
            partition.first_lba.checked_mul(unit),
            partition.sectors().checked_mul(unit),
        );
        let is_it = |child: &Path| {
            number(&child.join("partition")) == Some(u64::from(partition.number))
                && (number(&child.join("start")), number(&child.join("size"))) == place
        };
        let children = fs::read_dir(&dir).map_err(|source| FindError::Io {
            path: dir.clone(),
            source,
        })?;
        let child = children
            .flatten()
            .map(|entry| entry.path())
            .find(|child| is_it(child));
        let node = child.and_then(|child| {
            let name = child.file_name()?.to_string_lossy().into_owned();
            Some(self.node(&child, &name))
        });
        node.filter(|node| node.exists())
            .ok_or(FindError::NoPartition {
                disk: on.name.clone(),
                number: partition.number,
            })
    }

    fn node(&self, dir: &Path, name: &str) -> PathBuf {
        let uevent = fs::read_to_string(dir.join("uevent")).unwrap_or_default();
        let told = uevent
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="));
        // A slash in a device's name is a `!` in sysfs.
        self.dev
            .join(told.map_or_else(|| name.replace('!', "/"), str::to_owned))
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a node can be opened and is the disk sought; one that cannot be read is passed over.
fn is_disk(node: &Node, guid: Guid, state: Guid) -> bool {
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
