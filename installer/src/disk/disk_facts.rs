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
    /// Its content and partition table, for decisions, or why it cannot be read.
    pub findings: Result<DiskFindings, String>,
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
            findings: Ok(DiskFindings::blank()),
            map: Some(DiskMap::blank(disk.size)),
            disk,
        };
        disks::sample().into_iter().map(blank).collect()
    }

    fn read(disk: Disk) -> Self {
        match FileDevice::open(&disk.path, Access::Read, SectorSize::Detect) {
            Ok(device) => Self::of(disk, &(Arc::new(device) as Arc<dyn BlockDevice>)),
            Err(error) => Self {
                disk,
                findings: Err(error.to_string()),
                map: None,
            },
        }
    }

    /// Returns a disk with the content of `device`. *Reads.*
    #[must_use]
    pub fn of(disk: Disk, device: &Arc<dyn BlockDevice>) -> Self {
        Self {
            disk,
            findings: safety::inspect(device).map_err(|error| error.to_string()),
            map: DiskMap::read(device.as_ref()).ok(),
        }
    }

    /// Returns every disk, assessed for `request`. *Pure.*
    #[must_use]
    pub fn assess(all: &[Self], request: &DiskRequest<'_>) -> Vec<Candidate> {
        let find = |disk: &Disk| all.iter().find(|facts| facts.disk.path == disk.path);
        let disks = all.iter().map(|facts| facts.disk.clone()).collect();
        candidates(disks, request, |disk| {
            let found = find(disk).map(|facts| facts.findings.clone());
            found.unwrap_or_else(|| Err("the disk was not read".to_owned()))
        })
    }
}
