//! What the state machine knows before the first screen, and the draft of an installation.

use crate::disk::choose::{Candidate, Target};
use crate::disk::disk_facts::DiskFacts;
use crate::disk::disk_map::DiskMap;
use crate::disk::disks::Disk;
use crate::disk::layout::{ALIGNMENT, Layout, Size};
use crate::disk::safety::{DiskContent, DiskRequest, Problem};
use crate::install::answers::Answers;

/// Facts about the program's surroundings that stay the same while it runs.
#[derive(Clone, Debug)]
pub struct Session {
    /// Version of the release to install; `None` without a bundle: there is nothing to write then.
    pub release: Option<String>,
    /// Smallest partitions that take the release.
    pub needs: Needs,
    /// Whether the installation medium is running, which can restart the machine.
    pub is_medium: bool,
    /// Kernel names of the disks with the medium.
    pub media: Vec<String>,
    /// Where the answers file would be saved.
    pub save_path: String,
    /// Whether the disks are those of a sample machine.
    pub is_sample: bool,
    /// Answers to begin with: sizes, bundle, hardware name.
    pub answers: Answers,
}

/// Bytes that the images of a release take; 0 where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Seal and boot image.
    pub boot: u64,
    /// Root image.
    pub root: u64,
    /// Seal and recovery image.
    pub recovery: u64,
}

impl Needs {
    /// Returns the smallest layout for these images, without a size for data. *Pure.*
    #[must_use]
    pub fn smallest(&self, sector_size: u32) -> Layout {
        let size = |bytes: u64| Size(bytes.max(ALIGNMENT).next_multiple_of(ALIGNMENT));
        Layout {
            // The smallest FAT32 file systems (docs/install.example.toml).
            esp: size(if sector_size == 4096 { 257 } else { 33 } * ALIGNMENT),
            boot: size(self.boot),
            root: size(self.root),
            recovery: size(self.recovery),
            data: None,
        }
    }
}

/// An installation that is being composed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Place of the disk in the list of disks.
    pub disk: usize,
    /// Install into free space.
    pub beside: bool,
    /// The recovery keys of BitLocker volumes are at hand.
    pub recovery_key_at_hand: bool,
    /// Sizes of the partitions.
    pub layout: Layout,
}

impl Draft {
    /// Returns the disk of this draft with its plan and every reason against it, as if its erasure
    /// was confirmed. *Pure.* `None` if there is no such disk.
    #[must_use]
    pub fn assess(&self, session: &Session, disks: &[DiskFacts]) -> Option<Candidate> {
        self.assess_with(session, disks, Some(disks.get(self.disk)?.disk.id()))
    }

    fn assess_with(
        &self,
        session: &Session,
        disks: &[DiskFacts],
        erase: Option<&str>,
    ) -> Option<Candidate> {
        let request = DiskRequest {
            layout: &self.layout,
            beside: self.beside,
            recovery_key_at_hand: self.recovery_key_at_hand,
            media_disks: &session.media,
            erase,
        };
        DiskFacts::assess(disks, &request)
            .into_iter()
            .nth(self.disk)
    }

    /// Returns the answers file of an unattended installation that does the same. *Pure.* `None` if
    /// there is no such disk.
    #[must_use]
    pub fn answers(&self, session: &Session, disks: &[DiskFacts]) -> Option<Answers> {
        let id = disks.get(self.disk)?.disk.id().to_owned();
        let unconfirmed = self.assess_with(session, disks, None)?;
        Some(Answers {
            version: 1,
            unattended: true,
            target: Target::Disk(id.clone()),
            erase: (!unconfirmed.problems.is_empty()).then_some(id),
            recovery_key_at_hand: self.recovery_key_at_hand,
            beside: self.beside,
            forget_floor: false,
            layout: self.layout,
            ..session.answers.clone()
        })
    }

    /// Returns the maps of the disk now and after the installation. *Pure.* `None` if it cannot be
    /// read or the layout does not fit.
    #[must_use]
    pub fn maps(&self, session: &Session, disks: &[DiskFacts]) -> Option<(DiskMap, DiskMap)> {
        let before = disks.get(self.disk)?.map.clone()?;
        let after = before.planned(&self.assess(session, disks)?.plan?);
        Some((before, after))
    }
}

/// Returns the installed version of RayOS on a disk; `None` without one. *Pure.*
#[must_use]
pub fn installed_version(facts: &DiskFacts) -> Option<&str> {
    match &facts.findings.as_ref().ok()?.content {
        DiskContent::Installed { version } => Some(version),
        _ => None,
    }
}

/// Returns every reason against any write to a disk: read-only, the medium, in use. *Pure.*
#[must_use]
pub fn reasons_against_writing(disk: &Disk, session: &Session) -> Vec<String> {
    let mut problems = Vec::new();
    if disk.ro {
        problems.push(Problem::ReadOnly);
    }
    if session.media.contains(&disk.name) {
        problems.push(Problem::Medium);
    }
    problems.extend(disk.busy().map(|(part, used)| Problem::Busy {
        part: part.to_owned(),
        reason: used.to_string(),
    }));
    problems.iter().map(Problem::to_string).collect()
}
