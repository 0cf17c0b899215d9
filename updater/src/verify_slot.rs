//! Comparing a slot with what was signed.

use crate::batch::{Origin, total_len};
use crate::error::ApplyError;
use crate::events::{EventSink, Phase};
use crate::progress::Progress;
use crate::scan::{InPlaceScan, Scan};
use crate::slot::equivalence::signs_images_of;
use crate::slot::hash::image_digest;
use crate::slot::image_location::{ImageLocation, ReadFrom};
use crate::slot::release_locations::ImageLocations;
use crate::slot::root_tree::{check_tree, has_root_hash};
use crate::slot::stored_metadata::{MetadataError, SealedSlot, StoredMetadata};
use crate::worker_pool::{StopGuard, join};
use bootctl::disk::DiskError;
use bundle::verity::BLOCK;
use bundle::{ImageRole, ReadError, Release};
use record::{PartitionName, Slot, SlotState};
use seal::{ImageDigest, Statement};
use serde::Serialize;
use std::sync::Arc;

/// Maximum number of damaged ranges in a report; further ones are only counted.
const MAX_RANGES: usize = 100;

/// The parameters of a comparison.
pub struct Comparison<'a> {
    /// The slot.
    pub sealed: SealedSlot<'a>,
    /// The state of the slot in the boot record.
    pub state: &'a SlotState,
    /// The head of the bundle to compare with; `None` for the metadata that the slot stores.
    pub release: Option<Arc<Release>>,
    /// Number of threads that read and hash.
    pub jobs: usize,
}

/// Result of comparing a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// The slot: `a` or `b`.
    pub slot: char,
    /// The release that its seal signs.
    pub version: String,
    /// The rollback index of that release.
    pub rollback_index: u64,
    /// The boot record names the same release.
    pub matches_record: bool,
    /// The origin of the index that chunks were compared with: `slot`, `bundle` or `nothing`.
    pub compared_with: &'static str,
    /// The images.
    pub images: Vec<ImageReport>,
}

/// Result of comparing one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// `boot` or `root`.
    pub role: &'static str,
    /// Its partition.
    pub partition: &'static str,
    /// It is as it was signed; `None` if it was not compared.
    pub intact: Option<bool>,
    /// Number of damaged chunks, if compared by chunks.
    pub damaged_chunks: usize,
    /// Bytes of damaged chunks.
    pub damaged_bytes: u64,
    /// The damaged ranges, at most 100.
    pub damaged: Vec<Damage>,
}

/// A damaged range: adjacent damaged chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Byte offset in the partition.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl SlotReport {
    /// Returns whether all images were compared, and are as they were signed. *Pure.*
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.matches_record && self.images.iter().all(|image| image.intact == Some(true))
    }

    /// Returns whether an image is damaged, or the boot record names another release. *Pure.*
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.matches_record || self.images.iter().any(|image| image.intact == Some(false))
    }
}

/// A slot that could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifySlotError {
    /// It is empty, or being written.
    #[error("slot {slot} holds no release: {}", reason.words())]
    Empty {
        /// The slot.
        slot: Slot,
        /// The reason in the boot record.
        reason: record::Reason,
    },
    /// The seal in its boot partition is damaged, or not accepted.
    #[error("{partition}: {error}")]
    Seal {
        /// The boot partition.
        partition: PartitionName,
        /// The cause.
        error: ReadError,
    },
    /// The bundle is of another release.
    #[error("slot {slot} holds release {holds}: the bundle is release {offered}")]
    OtherRelease {
        /// The slot.
        slot: Slot,
        /// Its release.
        holds: String,
        /// The release of the bundle.
        offered: String,
    },
    /// The disk lacks a partition.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The caller stopped the work.
    #[error(transparent)]
    Stopped(#[from] ApplyError),
}

/// Compares a slot with what was signed, reading from the medium. *Reads.*
///
/// # Errors
/// [`VerifySlotError`] if there is nothing to compare with. Damage is part of the report.
pub async fn verify_slot(
    comparison: &Comparison<'_>,
    events: &dyn EventSink,
) -> Result<SlotReport, VerifySlotError> {
    let Comparison { sealed, state, .. } = *comparison;
    let metadata = comparison.metadata()?;
    let (release, compared_with) = match (&comparison.release, &metadata.release) {
        (Some(release), _) => {
            check_release(sealed.slot, &metadata, release)?;
            (Some(release), "bundle")
        }
        (None, Some(stored)) => (Some(stored), "slot"),
        (None, None) => (None, "nothing"),
    };
    let images = match release {
        Some(release) => comparison.compare_chunks(release, events).await?,
        None => comparison.compare_images(&metadata.statement).await?,
    };
    let statement = &metadata.statement;
    Ok(SlotReport {
        slot: sealed.slot.letter(),
        version: statement.version.to_string(),
        rollback_index: statement.rollback_index,
        matches_record: state.release.manifest_sha256 == statement.manifest.sha256,
        compared_with,
        images,
    })
}

/// Checks that the slot holds the release of the bundle.
fn check_release(
    slot: Slot,
    metadata: &StoredMetadata,
    offered: &Release,
) -> Result<(), VerifySlotError> {
    let held = &metadata.statement;
    if held.manifest.sha256 == offered.statement().manifest.sha256
        || signs_images_of(metadata, offered)
    {
        return Ok(());
    }
    Err(VerifySlotError::OtherRelease {
        slot,
        holds: held.version.to_string(),
        offered: offered.statement().version.to_string(),
    })
}

impl Comparison<'_> {
    fn metadata(&self) -> Result<StoredMetadata, VerifySlotError> {
        let slot = self.sealed.slot;
        self.sealed.metadata().map_err(|error| match error {
            MetadataError::Disk(error) => error.into(),
            // Only a bootable slot is expected to have a seal.
            MetadataError::Seal(_) if !self.state.is_bootable() => VerifySlotError::Empty {
                slot,
                reason: self.state.reason,
            },
            MetadataError::Seal(error) => VerifySlotError::Seal {
                partition: PartitionName::boot(slot),
                error,
            },
        })
    }

    async fn compare_chunks(
        &self,
        release: &Arc<Release>,
        events: &dyn EventSink,
    ) -> Result<Vec<ImageReport>, VerifySlotError> {
        let SealedSlot { disk, slot, .. } = self.sealed;
        let stop = StopGuard::default();
        let scan = InPlaceScan {
            locations: Arc::new(ImageLocations::in_slot(disk, slot, Arc::clone(release))?),
            read_from: ReadFrom::Medium,
            hints: None,
            pool: stop.pool(self.jobs),
        };
        let wanted = |chunk: usize| scan.locations.get(release.chunks()[chunk].image).is_some();
        let chunks = (0..release.chunks().len()).filter(|chunk| wanted(*chunk));
        let mut progress = Progress::new(events, Phase::Verify, total_len(release, chunks));
        let found = scan.run(wanted, &mut progress).await?;
        let mut reports = image_reports(&scan.locations, &found);
        let locations = Arc::clone(&scan.locations);
        let tree = join(tokio::task::spawn_blocking(move || tree_damage(&locations))).await;
        let root = |report: &&mut ImageReport| report.role == ImageRole::Root.as_str();
        if let (Some(damage), Some(root)) = (tree, reports.iter_mut().find(root)) {
            root.add(damage);
            root.intact = Some(false);
        }
        Ok(reports)
    }

    /// Compares the boot image with the digest in the seal, and the root image with the root hash,
    /// if the seal has one.
    async fn compare_images(
        &self,
        statement: &Statement,
    ) -> Result<Vec<ImageReport>, VerifySlotError> {
        let SealedSlot { disk, slot, .. } = self.sealed;
        let boot = ImageLocation::boot(disk, slot)?;
        let root = ImageLocation::root(disk, slot)?;
        let mut reports = vec![
            ImageReport::new(ImageRole::Boot, boot.partition),
            ImageReport::new(ImageRole::Root, root.partition),
        ];
        let (image, verified_root) = (statement.boot, statement.root);
        let stop = StopGuard::default();
        let make_worker = || {
            let (boot, root) = (boot.clone(), root.clone());
            move |number: usize| {
                let intact = match number {
                    0 => Some(has_digest(&boot, image)),
                    _ => verified_root.map(|verified| has_root_hash(&root, &verified)),
                };
                Ok((number, intact))
            }
        };
        let on_result = |(number, intact): (usize, Option<bool>)| reports[number].intact = intact;
        stop.pool(2).run_all([0, 1], make_worker, on_result).await?;
        Ok(reports)
    }
}

/// Returns the first place where the hash tree of a root image is not as it was signed. *Reads.*
fn tree_damage(locations: &ImageLocations) -> Option<Damage> {
    let release = locations.release();
    let root = release.statement().root?;
    let mut images = release.images().iter();
    let number = images.position(|image| image.role == ImageRole::Root)?;
    let error = check_tree(locations.get(number)?, &root).err()?;
    let (offset, len) = (error.offset(), BLOCK);
    Some(Damage { offset, len })
}

/// Returns the report of each image. *Pure.*
fn image_reports(locations: &ImageLocations, scan: &Scan) -> Vec<ImageReport> {
    let release = locations.release();
    let mut reports = Vec::new();
    for (number, image) in release.images().iter().enumerate() {
        let Some(location) = locations.get(number) else {
            continue;
        };
        let mut report = ImageReport::new(image.role, location.partition);
        for chunk in image.chunks.clone() {
            if scan.origins[chunk] != Origin::InPlace {
                let chunk = &release.chunks()[chunk];
                report.add(Damage {
                    offset: location.offset(chunk.offset),
                    len: u64::from(chunk.len),
                });
            }
        }
        report.intact = Some(report.damaged_chunks == 0);
        reports.push(report);
    }
    reports
}

/// Returns whether an image has its digest; false if it cannot be read. *Reads.*
fn has_digest(location: &ImageLocation, image: ImageDigest) -> bool {
    location.has_room_for(image.len)
        && image_digest(location, image.len, ReadFrom::Medium)
            .is_ok_and(|digest| digest == image.sha256)
}

impl ImageReport {
    const fn new(role: ImageRole, partition: PartitionName) -> Self {
        Self {
            role: role.as_str(),
            partition: partition.as_str(),
            intact: None,
            damaged_chunks: 0,
            damaged_bytes: 0,
            damaged: Vec::new(),
        }
    }

    fn add(&mut self, damage: Damage) {
        self.damaged_chunks += 1;
        self.damaged_bytes += damage.len;
        let ranges = self.damaged.len();
        match self.damaged.last_mut() {
            Some(last) if last.offset + last.len == damage.offset => last.len += damage.len,
            _ if ranges < MAX_RANGES => self.damaged.push(damage),
            _ => {}
        }
    }
}
