//! Safety of writing a disk: every reason against it at once.

use crate::disk::coexist::{CoexistPlan, Obstacles};
use crate::disk::disks;
use crate::disk::layout::{Layout, PlannedDisk};
use crate::disk::table::{ExistingTable, TableEntry, UnusableTable};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use bootctl::store::RecordStore;
use record::gpt::{CopyError, GptError, NoTable};
use record::{COPY_OFFSETS, Guid, Pair, RECORD_LEN};
use serde::Serialize;
use std::io;
use std::sync::Arc;

/// Content of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "detail")]
pub enum DiskContent {
    /// Nothing: the bytes where tables and file systems start are zero.
    Blank,
    /// A RayOS installation on which a release was activated.
    Installed {
        /// Release in the default slot.
        version: String,
    },
    /// A RayOS installation that was interrupted before its first release was activated.
    Unfinished,
    /// The same, and partitions of another system.
    UnfinishedBeside,
    /// Partitions of RayOS without a boot record.
    Remains,
    /// Anything else.
    Other(&'static str),
}

/// A reason against writing a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It cannot be written.
    #[error("it is read-only")]
    ReadOnly,
    /// It cannot be read, so what would be lost is not known. No confirmation permits it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Part of it is in use.
    #[error("{part} is {reason}")]
    Busy {
        /// Kernel name of the disk or partition.
        part: String,
        /// How.
        reason: String,
    },
    /// This system was started from it.
    #[error("it contains the installation medium")]
    Medium,
    /// The id that confirms the erasure belongs to several disks.
    #[error("the id {id} names more than one disk: use a unique one, or detach the other disk")]
    SharedId {
        /// The id.
        id: String,
    },
    /// A partition of another system is encrypted by BitLocker.
    #[error(
        "partition {partition} is encrypted by BitLocker, which may ask for its recovery key after \
         boot entries change: confirm with `recovery_key_at_hand = true` or --recovery-key-at-hand"
    )]
    BitLocker {
        /// Number of the partition.
        partition: u32,
    },
    /// The layout does not fit.
    #[error("{0}")]
    Layout(String),
    /// An installation beside its other systems is not possible.
    #[error("{0}")]
    Coexist(String),
    /// It is not empty, and erasing it was not confirmed.
    #[error("it is not empty ({what}): erase it with --erase {id}")]
    NotEmpty {
        /// Its content.
        what: String,
        /// Id that confirms it.
        id: String,
    },
    /// RayOS is installed on it, and erasing it was not confirmed.
    #[error("RayOS {version} is installed on it: boot it, or replace it with --erase {id}")]
    AlreadyInstalled {
        /// Release.
        version: String,
        /// Id that confirms it.
        id: String,
    },
    /// The same, and the other systems on the disk would be erased, too.
    #[error(
        "RayOS {version} is installed on it, beside another system: boot it, erase both with \
         --erase {id}, or replace only RayOS with --beside --erase {id}"
    )]
    InstalledBeside {
        /// Release.
        version: String,
        /// Id that confirms it.
        id: String,
    },
}

/// Content and partition table of a disk.
#[derive(Clone, Debug)]
pub struct DiskFindings {
    /// Its content.
    pub content: DiskContent,
    /// Its partition table.
    pub table: Result<ExistingTable, UnusableTable>,
    /// Numbers of the partitions that are encrypted by BitLocker.
    pub bitlocker: Vec<u32>,
}

impl DiskFindings {
    /// Returns the findings for an empty disk. *Pure.*
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

/// How a disk is to be used.
#[derive(Clone, Copy, Debug)]
pub struct DiskRequest<'a> {
    /// Layout of the partitions.
    pub layout: &'a Layout,
    /// Install into free space and keep other systems.
    pub beside: bool,
    /// The recovery keys of BitLocker volumes on the disk are at hand.
    pub recovery_key_at_hand: bool,
    /// Kernel names of the disks with the installation medium.
    pub media_disks: &'a [String],
    /// Id of the disk whose erasure the operator confirmed.
    pub erase: Option<&'a str>,
}

impl DiskRequest<'_> {
    /// Returns the plan for `disk`, and every reason against writing it: none permits it. *Pure.*
    /// `findings` is the reason if the disk cannot be read.
    #[must_use]
    pub fn assess(
        &self,
        disk: &disks::Disk,
        findings: Result<&DiskFindings, &str>,
    ) -> (Option<PlannedDisk>, Vec<Problem>) {
        let mut problems = Vec::new();
        if let Some(error) = unreadable(findings) {
            problems.push(Problem::Unreadable(error.to_owned()));
        }
        let findings = findings.ok();
        if disk.ro {
            problems.push(Problem::ReadOnly);
        }
        if self.media_disks.contains(&disk.name) {
            problems.push(Problem::Medium);
        }
        for (part, used) in disk.busy() {
            problems.push(Problem::Busy {
                part: part.to_owned(),
                reason: used.to_string(),
            });
        }
        let plan = self
            .plan(disk, findings)
            .map_err(|found| problems.extend(found))
            .ok();
        if self.beside && !self.recovery_key_at_hand {
            let encrypted = findings.map_or(&[][..], |findings| &findings.bitlocker);
            problems.extend(
                encrypted
                    .iter()
                    .map(|&partition| Problem::BitLocker { partition }),
            );
        }
        if !self.erase.is_some_and(|id| disk.answers_to(id)) {
            problems.extend(self.unconfirmed_loss(findings, disk.id()));
        }
        (plan, problems)
    }

    fn plan(
        &self,
        disk: &disks::Disk,
        findings: Option<&DiskFindings>,
    ) -> Result<PlannedDisk, Vec<Problem>> {
        if !self.beside {
            let planned = self.layout.plan(disk.size, disk.sector_size, Guid::ZERO);
            return planned.map_err(|error| vec![Problem::Layout(error.to_string())]);
        }
        let beside = |problem: &dyn std::fmt::Display| vec![Problem::Coexist(problem.to_string())];
        match findings.map(|findings| &findings.table) {
            Some(Ok(table)) => match CoexistPlan::plan(table, self.layout, disk.size, Guid::ZERO) {
                Ok(plan) => Ok(plan.planned),
                Err(Obstacles(reasons)) => {
                    Err(reasons.iter().flat_map(|reason| beside(reason)).collect())
                }
            },
            // Reported as unreadable already.
            Some(Err(UnusableTable::Unreadable(_))) | None => Err(Vec::new()),
            Some(Err(unfit)) => Err(beside(unfit)),
        }
    }

    /// Returns what would be lost without a confirmation.
    fn unconfirmed_loss(&self, findings: Option<&DiskFindings>, id: &str) -> Option<Problem> {
        let id = id.to_owned();
        let not_empty = |what: &str| Problem::NotEmpty {
            what: what.to_owned(),
            id: id.clone(),
        };
        match &findings?.content {
            DiskContent::Blank | DiskContent::Unfinished => None,
            DiskContent::Installed { version } => {
                let (version, id) = (version.clone(), id.clone());
                let others = findings
                    .and_then(|findings| findings.table.as_ref().ok())
                    .map(ExistingTable::others);
                let is_all_lost = !self.beside && others.is_some_and(|others| !others.is_empty());
                Some(match is_all_lost {
                    true => Problem::InstalledBeside { version, id },
                    false => Problem::AlreadyInstalled { version, id },
                })
            }
            DiskContent::Remains => Some(not_empty(
                "it has partitions of RayOS without a boot record",
            )),
            DiskContent::UnfinishedBeside | DiskContent::Other(_) if self.beside => None,
            DiskContent::UnfinishedBeside => Some(not_empty(
                "it has another system and an interrupted installation",
            )),
            DiskContent::Other(what) => Some(not_empty(what)),
        }
    }
}

/// Returns why a disk cannot be read, in whole or in part.
fn unreadable<'a>(findings: Result<&'a DiskFindings, &'a str>) -> Option<&'a str> {
    match findings {
        Err(error) => Some(error),
        Ok(DiskFindings {
            table: Err(UnusableTable::Unreadable(error)),
            ..
        }) => Some(error),
        Ok(_) => None,
    }
}

/// Returns the content and the partition table of a device. *Reads*; trusts nothing of it. An
/// installation of ours is recognised even if a part of the table cannot be read.
///
/// # Errors
/// The error of the device: what it holds is not known.
pub fn inspect(device: &Arc<dyn BlockDevice>) -> io::Result<DiskFindings> {
    let table = match ExistingTable::read(device.as_ref()) {
        Ok(table) => table,
        Err(error) => match installation(device)? {
            Some(content @ DiskContent::Installed { .. }) => {
                return Ok(DiskFindings {
                    content,
                    table: Err(UnusableTable::Unreadable(error.to_string())),
                    bitlocker: Vec::new(),
                });
            }
            _ => return Err(error),
        },
    };
    Ok(DiskFindings {
        content: content(device, table.as_ref().ok())?,
        bitlocker: bitlocker(device, table.as_ref().ok()),
        table,
    })
}

/// The signature of a BitLocker volume, at byte 3 of its boot sector.
const BITLOCKER: &[u8] = b"-FVE-FS-";

/// Returns the numbers of other systems' partitions that are encrypted by BitLocker. *Reads*; a
/// partition that cannot be read is not listed.
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

/// Returns the content of a device, judged by its table, its first MiB and its last 64 KiB.
fn content(
    device: &Arc<dyn BlockDevice>,
    table: Option<&ExistingTable>,
) -> io::Result<DiskContent> {
    match (installation(device)?, table) {
        (Some(DiskContent::Unfinished), Some(table)) if !table.others().is_empty() => {
            return Ok(DiskContent::UnfinishedBeside);
        }
        (Some(content), _) => return Ok(content),
        (None, Some(table)) if !table.ours().is_empty() => return Ok(remains(table)),
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

/// Returns the content of a disk with partitions of ours in `table`, whose boot record was not
/// found. More than one state partition, or one beyond the end of the disk, may hold a record.
fn remains(table: &ExistingTable) -> DiskContent {
    let is_state = |entry: &TableEntry| entry.kind == record::STATE_TYPE;
    if table.entries().any(|entry| is_state(&entry)) {
        let version = "with an ambiguous partition table".to_owned();
        return DiskContent::Installed { version };
    }
    DiskContent::Remains
}

/// Returns the installation on a device, from its partition table and boot record; `None` without
/// a boot record.
fn installation(device: &Arc<dyn BlockDevice>) -> io::Result<Option<DiskContent>> {
    let disk = match Disk::open(Arc::clone(device)) {
        Ok(disk) => disk,
        // A copy that cannot be read may be one of ours.
        Err(DiskError::NoTable(
            NoTable {
                primary: CopyError::Io(error),
                ..
            }
            | NoTable {
                backup: CopyError::Io(error),
                ..
            },
        )) => return Err(error),
        Err(_) => return Ok(None),
    };
    let Ok(store) = RecordStore::open(&disk) else {
        return Ok(None);
    };
    let content = recorded(&store.pair());
    if !matches!(content, DiskContent::Installed { .. }) || matches!(store.pair(), Pair::Lost(_)) {
        // The copy that cannot be read may name a release.
        let state = disk.state().map_err(io::Error::other)?;
        for offset in COPY_OFFSETS {
            state.read_at(offset, &mut [0; RECORD_LEN])?;
        }
    }
    Ok(Some(content))
}

/// Returns the content that a boot record describes. *Pure.*
fn recorded(pair: &Pair) -> DiskContent {
    let named = |version: &str| DiskContent::Installed {
        version: version.to_owned(),
    };
    let record = match pair {
        Pair::Valid { record, .. } => record,
        // A record that this version cannot read still belongs to an installation.
        Pair::Newer(_) => return named("of a newer version"),
        Pair::Lost(_) => return named("with a lost boot record"),
    };
    // There is user data only after a release was activated, and its slot keeps the release's name.
    let used = |slot: &&record::SlotState| slot.release != record::Release::NONE;
    let slot = record
        .slots
        .iter()
        .find(|slot| slot.is_bootable())
        .or(record.slots.iter().find(used));
    slot.map_or(DiskContent::Unfinished, |slot| {
        named(slot.release.version.as_str())
    })
}
