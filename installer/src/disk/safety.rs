//! Whether a disk may be written: every reason against it, all at once.

use crate::disk::coexist::{CoexistPlan, Obstacles};
use crate::disk::disks;
use crate::disk::layout::{Layout, PlannedDisk};
use crate::disk::table::{ExistingTable, UnusableTable};
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use record::gpt::GptError;
use record::{Guid, Pair};
use serde::Serialize;
use std::sync::Arc;

/// What lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskContent {
    /// Nothing that this program recognises: the places where tables and file systems begin are
    /// zero.
    Blank,
    /// One of our installations, on which a release has been activated at some time.
    Installed {
        /// Release in the default slot.
        version: String,
    },
    /// One of our installations that was cut off before its first release was activated.
    Unfinished,
    /// The same, beside partitions of another system.
    UnfinishedBeside,
    /// Partitions of ours without a boot record that can be found.
    Remains,
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
    /// The id that was given as consent to erase is also another disk's.
    #[error(
        "the id {id} names more than one disk: use the one that is its own, or detach the other"
    )]
    SharedId {
        /// The id.
        id: String,
    },
    /// A volume beside which it would be installed is encrypted.
    #[error(
        "partition {partition} is encrypted by BitLocker, which may ask for its recovery key once \
         boot entries change: say `recovery_key_at_hand = true` when it is at hand"
    )]
    BitLocker {
        /// Number of the partition.
        partition: u32,
    },
    /// The layout does not fit.
    #[error("{0}")]
    Layout(String),
    /// There is no room for an installation beside what is on it.
    #[error("{0}")]
    Coexist(String),
    /// Something is on it, and nobody said that it may be erased.
    #[error("it is not empty ({what}): name it with --erase {id} to erase it")]
    NotEmpty {
        /// What was found.
        what: String,
        /// What to name.
        id: String,
    },
    /// RayOS is installed on it, and nobody said that it may be erased.
    #[error(
        "RayOS {version} is installed on it: start it, or name it with --erase {id} to install anew"
    )]
    AlreadyInstalled {
        /// Release.
        version: String,
        /// What to name.
        id: String,
    },
    /// The same, beside another system, and the whole disk would be taken.
    #[error(
        "RayOS {version} is installed on it, beside another system: start it, or name it with --erase {id} to erase both, \
         or RayOS alone with --beside as well"
    )]
    InstalledBeside {
        /// Release.
        version: String,
        /// What to name.
        id: String,
    },
}

/// What was found on a disk.
#[derive(Clone, Debug)]
pub struct DiskFindings {
    /// What lies on it.
    pub content: DiskContent,
    /// Its partition table.
    pub table: Result<ExistingTable, UnusableTable>,
    /// Numbers of the partitions that BitLocker encrypts.
    pub bitlocker: Vec<u32>,
}

impl DiskFindings {
    /// A disk with nothing on it.
    #[must_use]
    pub const fn blank() -> Self {
        let none = GptError::NotAHeader;
        Self {
            content: DiskContent::Blank,
            table: Err(UnusableTable::NoTable {
                primary: none,
                backup: none,
            }),
            bitlocker: Vec::new(),
        }
    }
}

/// How a disk shall be used.
#[derive(Clone, Copy, Debug)]
pub struct DiskRequest<'a> {
    /// The layout that it shall get.
    pub layout: &'a Layout,
    /// Whether that shall lie beside what is there.
    pub beside: bool,
    /// Whether the recovery keys of BitLocker volumes beside it are at hand.
    pub recovery_key_at_hand: bool,
    /// Kernel names of the disks that the installation medium is on.
    pub media: &'a [String],
    /// The id that someone named as the disk to be erased.
    pub erase: Option<&'a str>,
}

impl DiskRequest<'_> {
    /// How `disk` would be divided, and every reason against writing it. *Pure*; an empty list is
    /// consent. `look` is nothing where the disk could not be read.
    #[must_use]
    pub fn assess(
        &self,
        disk: &disks::Disk,
        look: Option<&DiskFindings>,
    ) -> (Option<PlannedDisk>, Vec<Problem>) {
        let mut problems = Vec::new();
        if disk.ro {
            problems.push(Problem::ReadOnly);
        }
        if self.media.contains(&disk.name) {
            problems.push(Problem::Medium);
        }
        for (part, used) in disk.busy() {
            problems.push(Problem::Busy {
                part: part.to_owned(),
                reason: used.to_string(),
            });
        }
        let plan = self
            .plan(disk, look)
            .map_err(|found| problems.extend(found))
            .ok();
        if self.beside && !self.recovery_key_at_hand {
            let encrypted = look.map_or(&[][..], |look| &look.bitlocker);
            problems.extend(
                encrypted
                    .iter()
                    .map(|&partition| Problem::BitLocker { partition }),
            );
        }
        if !self.erase.is_some_and(|id| disk.answers_to(id)) {
            problems.extend(self.unconfirmed_loss(look, disk.id()));
        }
        (plan, problems)
    }

    fn plan(
        &self,
        disk: &disks::Disk,
        look: Option<&DiskFindings>,
    ) -> Result<PlannedDisk, Vec<Problem>> {
        if !self.beside {
            let planned = self.layout.plan(disk.size, disk.sector_size, Guid::ZERO);
            return planned.map_err(|error| vec![Problem::Layout(error.to_string())]);
        }
        let beside = |problem: &dyn std::fmt::Display| vec![Problem::Coexist(problem.to_string())];
        match look.map(|look| &look.table) {
            Some(Ok(table)) => match CoexistPlan::plan(table, self.layout, disk.size, Guid::ZERO) {
                Ok(plan) => Ok(plan.planned),
                Err(Obstacles(reasons)) => {
                    Err(reasons.iter().flat_map(|reason| beside(reason)).collect())
                }
            },
            Some(Err(unfit)) => Err(beside(unfit)),
            None => Err(beside(&"it cannot be read")),
        }
    }

    /// What nobody said that it may be lost.
    fn unconfirmed_loss(&self, look: Option<&DiskFindings>, id: &str) -> Option<Problem> {
        let id = id.to_owned();
        let not_empty = |what: &str| Problem::NotEmpty {
            what: what.to_owned(),
            id: id.clone(),
        };
        match look.map_or(&DiskContent::Other("it cannot be read"), |look| {
            &look.content
        }) {
            DiskContent::Blank | DiskContent::Unfinished => None,
            DiskContent::Installed { version } => {
                let (version, id) = (version.clone(), id.clone());
                let others = look
                    .and_then(|look| look.table.as_ref().ok())
                    .map(ExistingTable::others);
                let is_all_lost = !self.beside && others.is_some_and(|others| !others.is_empty());
                Some(match is_all_lost {
                    true => Problem::InstalledBeside { version, id },
                    false => Problem::AlreadyInstalled { version, id },
                })
            }
            DiskContent::Remains => Some(not_empty(
                "it has partitions of RayOS, and no boot record to go by",
            )),
            DiskContent::UnfinishedBeside | DiskContent::Other(_) if self.beside => None,
            DiskContent::UnfinishedBeside => Some(not_empty(
                "it has another system, and beside it an installation that was cut off",
            )),
            DiskContent::Other(what) => Some(not_empty(what)),
        }
    }
}

/// Finds out what lies on a device, and how it is divided. *Reads*; nothing of it is trusted.
///
/// # Errors
/// What the device says.
pub fn inspect(device: &Arc<dyn BlockDevice>) -> std::io::Result<DiskFindings> {
    let table = ExistingTable::read(device.as_ref())?;
    Ok(DiskFindings {
        content: content(device, table.as_ref().ok())?,
        bitlocker: bitlocker(device, table.as_ref().ok()),
        table,
    })
}

/// The signature of a BitLocker volume, at byte 3 of its boot sector.
const BITLOCKER: &[u8] = b"-FVE-FS-";

/// The numbers of the other systems' partitions that BitLocker encrypts. *Reads*; one that cannot
/// be read is none.
fn bitlocker(device: &Arc<dyn BlockDevice>, table: Option<&ExistingTable>) -> Vec<u32> {
    let Some(table) = table else {
        return Vec::new();
    };
    let is_encrypted = |first_lba: u64| {
        let mut start = vec![0; table.sector_size() as usize];
        let offset = first_lba.saturating_mul(table.sector_size());
        device.read_at(offset, &mut start).is_ok()
            && start.get(3..3 + BITLOCKER.len()) == Some(BITLOCKER)
    };
    let others = table.others().into_iter();
    others
        .filter(|entry| is_encrypted(entry.first_lba))
        .map(|entry| entry.number)
        .collect()
}

/// What lies on a device with this table, by its first MiB and its last 64 KiB.
fn content(
    device: &Arc<dyn BlockDevice>,
    table: Option<&ExistingTable>,
) -> std::io::Result<DiskContent> {
    match (installation(device), table) {
        (Some(DiskContent::Unfinished), Some(table)) if !table.others().is_empty() => {
            return Ok(DiskContent::UnfinishedBeside);
        }
        (Some(content), _) => return Ok(content),
        (None, Some(table)) if !table.ours().is_empty() => return Ok(DiskContent::Remains),
        (None, _) => {}
    }
    let mut start = vec![0; device.len().min(1024 * 1024) as usize];
    device.read_at(0, &mut start)?;
    let end_len = device.len().min(64 * 1024);
    let mut end = vec![0; end_len as usize];
    device.read_at(device.len() - end_len, &mut end)?;
    let has = |at: usize, magic: &[u8]| start.get(at..at + magic.len()) == Some(magic);
    let has_table = [512, 4096].into_iter().any(|at| has(at, b"EFI PART"))
        || end.windows(8).any(|bytes| bytes == b"EFI PART");
    if has_table {
        return Ok(DiskContent::Other("it has a GPT"));
    }
    if has(510, &[0x55, 0xaa]) {
        return Ok(DiskContent::Other("it has an MBR or a FAT file system"));
    }
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    Ok(if zero(&start) && zero(&end) {
        DiskContent::Blank
    } else {
        DiskContent::Other("it has data of an unknown kind")
    })
}

fn installation(device: &Arc<dyn BlockDevice>) -> Option<DiskContent> {
    let disk = Disk::open(Arc::clone(device)).ok()?;
    let record = match RecordStore::open(&disk).ok()?.pair() {
        Pair::Valid { record, .. } => record,
        // A later version's record, or a lost one: whatever it is, it is somebody's installation.
        Pair::Newer(_) => {
            return Some(DiskContent::Installed {
                version: "of a later version".to_owned(),
            });
        }
        Pair::Lost(_) => {
            return Some(DiskContent::Installed {
                version: "with a lost boot record".to_owned(),
            });
        }
    };
    // Data can only be there once a release has been activated, and a slot keeps its release's name
    // after that.
    let used = |slot: &&record::SlotState| slot.release != record::Release::NONE;
    let slot = record
        .slots
        .iter()
        .find(|slot| slot.is_bootable())
        .or(record.slots.iter().find(used));
    Some(match slot {
        Some(slot) => DiskContent::Installed {
            version: slot.release.version.to_string(),
        },
        None => DiskContent::Unfinished,
    })
}
