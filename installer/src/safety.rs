//! Whether a disk may be written: every reason against it, all at once.

use crate::disks;
use crate::layout::{Layout, LayoutError};
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use record::{Guid, Pair};
use serde::Serialize;
use std::sync::Arc;

/// What lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Nothing that this program recognises: the places where tables and file systems begin are zero.
    Blank,
    /// One of our installations, on which a release has been activated at some time.
    Installed {
        /// Release in the default slot.
        version: String,
    },
    /// One of our installations that was cut off before its first release was activated.
    Unfinished,
    /// Something else.
    Other(&'static str),
}

/// A reason against writing a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// It cannot be written.
    #[error("it is read-only")]
    ReadOnly,
    /// Part of it is in use.
    #[error("{part} is {reason}")]
    Busy {
        /// Kernel name of the disk or partition.
        part: String,
        /// How.
        reason: String,
    },
    /// The system that installs was started from it.
    #[error("it holds the installation medium")]
    Medium,
    /// The layout does not fit.
    #[error("{0}")]
    Layout(String),
    /// Something is on it, and nobody said that it may be erased.
    #[error("it is not empty ({what}): name it with --erase {id} to erase it")]
    NotEmpty {
        /// What was found.
        what: String,
        /// What to name.
        id: String,
    },
    /// RayOS is installed on it, and nobody said that it may be erased.
    #[error("RayOS {version} is installed on it: start it, or name it with --erase {id} to install anew")]
    AlreadyInstalled {
        /// Release.
        version: String,
        /// What to name.
        id: String,
    },
}

/// What is asked about a disk.
pub struct Question<'a> {
    /// The disk.
    pub disk: &'a disks::Disk,
    /// What lies on it.
    pub content: &'a Content,
    /// The layout that it shall get.
    pub layout: &'a Layout,
    /// Kernel names of the disks that the installation medium is on.
    pub media: &'a [String],
    /// The id that someone named as the disk to be erased.
    pub erase: Option<&'a str>,
}

impl Question<'_> {
    /// Every reason against writing the disk. *Pure*; an empty list is consent.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let disk = self.disk;
        let mut problems = Vec::new();
        if disk.ro {
            problems.push(Problem::ReadOnly);
        }
        if self.media.contains(&disk.name) {
            problems.push(Problem::Medium);
        }
        for (part, used) in disk.busy() {
            problems.push(Problem::Busy { part: part.to_owned(), reason: used.to_string() });
        }
        if let Err(error) = self.fits() {
            problems.push(Problem::Layout(error.to_string()));
        }
        if self.erase != Some(disk.id()) {
            let id = disk.id().to_owned();
            match self.content {
                Content::Blank | Content::Unfinished => {}
                Content::Installed { version } => {
                    problems.push(Problem::AlreadyInstalled { version: version.clone(), id });
                }
                Content::Other(what) => problems.push(Problem::NotEmpty { what: (*what).to_owned(), id }),
            }
        }
        problems
    }

    fn fits(&self) -> Result<(), LayoutError> {
        self.layout.plan(self.disk.size, self.disk.sector_size, Guid::ZERO).map(drop)
    }
}

/// Finds out what lies on a device. *Reads* its first MiB and its last 64 KiB, nothing of which is trusted.
///
/// # Errors
/// What the device says.
pub fn content(device: &Arc<dyn BlockDevice>) -> std::io::Result<Content> {
    if let Some(content) = installation(device) {
        return Ok(content);
    }
    let mut start = vec![0; device.len().min(1024 * 1024) as usize];
    device.read_at(0, &mut start)?;
    let end_len = device.len().min(64 * 1024);
    let mut end = vec![0; end_len as usize];
    device.read_at(device.len() - end_len, &mut end)?;
    let has = |at: usize, magic: &[u8]| start.get(at..at + magic.len()) == Some(magic);
    let table = [512, 4096].into_iter().any(|at| has(at, b"EFI PART"))
        || end.windows(8).any(|bytes| bytes == b"EFI PART");
    if table {
        return Ok(Content::Other("it has a GPT"));
    }
    if has(510, &[0x55, 0xaa]) {
        return Ok(Content::Other("it has an MBR or a FAT file system"));
    }
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    Ok(if zero(&start) && zero(&end) {
        Content::Blank
    } else {
        Content::Other("it has data of an unknown kind")
    })
}

fn installation(device: &Arc<dyn BlockDevice>) -> Option<Content> {
    let disk = Disk::open(Arc::clone(device)).ok()?;
    let record = match RecordStore::open(&disk).ok()?.pair() {
        Pair::Valid { record, .. } => record,
        // A later version's record, or a lost one: whatever it is, it is somebody's installation.
        Pair::Newer(_) => return Some(Content::Installed { version: "of a later version".to_owned() }),
        Pair::Lost(_) => return Some(Content::Installed { version: "with a lost boot record".to_owned() }),
    };
    // Data can only be there once a release has been activated, and a slot keeps its release's name after that.
    let used = |slot: &&record::SlotState| slot.release != record::Release::NONE;
    let slot = record.slots.iter().find(|slot| slot.is_bootable()).or(record.slots.iter().find(used));
    Some(match slot {
        Some(slot) => Content::Installed { version: slot.release.version.to_string() },
        None => Content::Unfinished,
    })
}
