//! What an installation has to know of each disk, read once.

use super::choose::{Candidate, candidates};
use super::disk_map::DiskMap;
use super::disks::{self, Disk, Roots};
use super::safety::{self, DiskFindings, DiskRequest};
use bootctl::device::{Access, BlockDevice, FileDevice, SectorSize};
use bootctl::sysfs::FindError;
use std::sync::Arc;

/// A disk with its content.
#[derive(Clone, Debug)]
pub struct DiskFacts {
    /// The disk.
    pub disk: Disk,
    /// Its content and partition table, for decisions; `None` if it cannot be read.
    pub findings: Option<DiskFindings>,
    /// Its ranges, for people; `None` if it cannot be read.
    pub map: Option<DiskMap>,
}

impl DiskFacts {
    /// Returns every disk of the machine, in the order of their names. *Reads.*
    ///
    /// # Errors
    /// [`FindError`] if the disks cannot be listed.
    pub fn read_all(roots: &Roots) -> Result<Vec<Self>, FindError> {
        let disks = disks::enumerate(roots)?;
        Ok(disks.into_iter().map(Self::read).collect())
    }

    /// Returns the disks of a sample machine, which are blank. *Pure.*
    #[must_use]
    pub fn sample() -> Vec<Self> {
        let blank = |disk: Disk| Self {
            findings: Some(DiskFindings::blank()),
            map: Some(DiskMap::blank(disk.size)),
            disk,
        };
        disks::sample().into_iter().map(blank).collect()
    }

    fn read(disk: Disk) -> Self {
        let device = FileDevice::open(&disk.path, Access::Read, SectorSize::Detect).ok();
        let device = device.map(|device| Arc::new(device) as Arc<dyn BlockDevice>);
        Self::of(disk, device.as_ref())
    }

    /// Returns a disk with the content of `device`; `None` for one that cannot be opened. *Reads.*
    #[must_use]
    pub fn of(disk: Disk, device: Option<&Arc<dyn BlockDevice>>) -> Self {
        Self {
            disk,
            findings: device.and_then(|device| safety::inspect(device).ok()),
            map: device.and_then(|device| DiskMap::read(device.as_ref()).ok()),
        }
    }

    /// Returns every disk, assessed for `request`. *Pure.*
    #[must_use]
    pub fn assess(all: &[Self], request: &DiskRequest<'_>) -> Vec<Candidate> {
        let find = |disk: &Disk| all.iter().find(|facts| facts.disk.path == disk.path);
        let disks = all.iter().map(|facts| facts.disk.clone()).collect();
        candidates(disks, request, |disk| find(disk)?.findings.clone())
    }
}
