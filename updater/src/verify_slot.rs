//! Comparing a slot with what was signed.

use crate::batch::Origin;
use crate::error::ApplyError;
use crate::events::{EventSink, Phase};
use crate::progress::Progress;
use crate::scan::Survey;
use crate::slot::equivalence::signs_the_same;
use crate::slot::image_location::{Place, Places, Reading};
use crate::slot::root_tree::{check_tree, matches_root_hash};
use crate::slot::stored_metadata as kept;
use crate::worker_pool::{StopOnDrop, Workers};
use bootctl::device::{AlignedBuffer, BlockDevice};
use bootctl::disk::{Disk, DiskError};
use bundle::verity::BLOCK;
use bundle::{ImageRole, ReadError, Release};
use record::{Slot, SlotState};
use seal::{ImageDigest, Statement, Trust};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Bytes that are hashed at a time.
const PIECE: u64 = 1 << 20;
/// Most damaged places that are named; more are only counted.
const MAX_NAMED: usize = 100;

/// What to compare.
pub struct Question<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// What the boot record says about the slot.
    pub state: &'a SlotState,
    /// The slot.
    pub slot: Slot,
    /// Who is trusted.
    pub trust: &'a Trust,
    /// The head of the bundle that the slot should hold; without it, what the slot keeps of its own
    /// bundle serves.
    pub release: Option<Arc<Release>>,
    /// Threads that read and hash.
    pub jobs: usize,
}

/// What came of comparing a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// The slot: `a` or `b`.
    pub slot: char,
    /// The release that its seal signs.
    pub version: String,
    /// Its rollback index.
    pub rollback_index: u64,
    /// Whether the boot record names the same release.
    pub as_in_record: bool,
    /// By what chunks were known: `slot`, `bundle`, or `nothing`.
    pub known_by: &'static str,
    /// Its images.
    pub images: Vec<ImageReport>,
}

/// What came of comparing one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// `boot` or `root`.
    pub role: &'static str,
    /// Its partition.
    pub partition: &'static str,
    /// Whether it is as it was signed; `None` if that could not be told.
    pub whole: Option<bool>,
    /// Number of damaged chunks, where chunks are known.
    pub damaged_chunks: usize,
    /// Bytes of damaged chunks.
    pub damaged_bytes: u64,
    /// The first of them.
    pub damaged: Vec<Damage>,
}

/// A damaged chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Byte offset in the partition.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl SlotReport {
    /// Whether everything was compared and is as it was signed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.as_in_record && self.images.iter().all(|image| image.whole == Some(true))
    }

    /// Whether anything is not as it was signed.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.as_in_record || self.images.iter().any(|image| image.whole == Some(false))
    }
}

/// Why a slot could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifySlotError {
    /// Nothing was ever written to it, or it is being written to.
    #[error("slot {slot} holds no release: {}", reason.words())]
    Empty {
        /// The slot.
        slot: Slot,
        /// Why.
        reason: record::Reason,
    },
    /// The seal in its boot partition is damaged, or not accepted.
    #[error("{partition}: {error}")]
    Seal {
        /// The boot partition.
        partition: &'static str,
        /// Why.
        error: ReadError,
    },
    /// The bundle is another release than the slot holds.
    #[error("slot {slot} holds release {holds}: the bundle is release {offered}")]
    OtherRelease {
        /// The slot.
        slot: Slot,
        /// Its release.
        holds: String,
        /// The bundle's.
        offered: String,
    },
    /// The disk lacks something.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The work was stopped.
    #[error(transparent)]
    Work(#[from] ApplyError),
}

/// Compares a slot with what was signed, reading from the medium. *Reads.*
///
/// # Errors
/// [`VerifySlotError`] if there is nothing to compare with. Damage is no error, but in the report.
pub async fn verify_slot(
    question: &Question<'_>,
    events: &dyn EventSink,
) -> Result<SlotReport, VerifySlotError> {
    let Question {
        disk, state, slot, ..
    } = *question;
    let boot = Place::boot(disk, slot)?;
    let (statement, kept) = match kept::read(&boot.window, question.trust) {
        Ok(read) => read,
        // Only a slot that may be started is expected to have a seal.
        Err(_) if !state.is_bootable() => {
            return Err(VerifySlotError::Empty {
                slot,
                reason: state.reason,
            });
        }
        Err(error) => {
            return Err(VerifySlotError::Seal {
                partition: boot.name,
                error,
            });
        }
    };
    let (release, known_by) = match (&question.release, kept) {
        (Some(release), kept) => {
            same_release(slot, &statement, kept.as_deref(), release)?;
            (Some(Arc::clone(release)), "bundle")
        }
        (None, Some(kept)) => (Some(kept), "slot"),
        (None, None) => (None, "nothing"),
    };
    let images = match release {
        Some(release) => compare(question, release, events).await?,
        None => compare_wholes(question, boot, &statement).await?,
    };
    Ok(SlotReport {
        slot: slot.letter(),
        version: statement.version.to_string(),
        rollback_index: statement.rollback_index,
        as_in_record: state.release.manifest_sha256 == statement.manifest.sha256,
        known_by,
        images,
    })
}

fn same_release(
    slot: Slot,
    holds: &seal::Statement,
    kept: Option<&Release>,
    offered: &Release,
) -> Result<(), VerifySlotError> {
    if holds.manifest.sha256 == offered.statement().manifest.sha256
        || signs_the_same(holds, kept, offered)
    {
        return Ok(());
    }
    let (holds, offered) = (
        holds.version.to_string(),
        offered.statement().version.to_string(),
    );
    Err(VerifySlotError::OtherRelease {
        slot,
        holds,
        offered,
    })
}

/// Compares chunk by chunk.
async fn compare(
    question: &Question<'_>,
    release: Arc<Release>,
    events: &dyn EventSink,
) -> Result<Vec<ImageReport>, VerifySlotError> {
    let places = Arc::new(Places::of_slot(
        question.disk,
        question.slot,
        Arc::clone(&release),
    )?);
    let wanted = |chunk: usize| places.of(release.chunks()[chunk].image).is_some();
    let chunks = release
        .chunks()
        .iter()
        .enumerate()
        .filter(|(number, _)| wanted(*number));
    let total = chunks.map(|(_, chunk)| u64::from(chunk.len)).sum();
    let guard = StopOnDrop::default();
    let mut progress = Progress::new(events, Phase::Verify, total);
    let workers = (question.jobs, &guard.0);
    let survey = Survey::in_place(
        (&places, Reading::Medium),
        wanted,
        None,
        workers,
        &mut progress,
    )
    .await?;
    let mut reports = damages(&places, &survey);
    let check = move || tree_damage(&places);
    let tree = tokio::task::spawn_blocking(check).await;
    let tree = tree.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    for report in reports
        .iter_mut()
        .filter(|report| report.role == ImageRole::Root.as_str())
    {
        if let Some(damage) = tree {
            report.add(damage);
            report.whole = Some(false);
        }
    }
    Ok(reports)
}

/// The first place where the hash tree over a root image is not as it was signed. *Reads.*
fn tree_damage(places: &Places) -> Option<Damage> {
    let release = places.release();
    let root = release.statement().root?;
    let number = release
        .images()
        .iter()
        .position(|image| image.role == ImageRole::Root)?;
    let error = check_tree(places.of(number)?, &root).err()?;
    let offset = error.offset();
    Some(Damage { offset, len: BLOCK })
}

/// What is not in its place. *Pure.*
pub(crate) fn damages(places: &Places, survey: &Survey) -> Vec<ImageReport> {
    let release = places.release();
    let mut reports = Vec::new();
    for (number, image) in release.images().iter().enumerate() {
        let Some(place) = places.of(number) else {
            continue;
        };
        let mut report = ImageReport::new(image.role, place.name);
        for (chunk, origin) in release
            .chunks()
            .iter()
            .zip(&survey.origins)
            .filter(|(chunk, _)| chunk.image == number)
        {
            if *origin != Origin::Held {
                report.add(Damage {
                    offset: place.offset(chunk.offset),
                    len: u64::from(chunk.len),
                });
            }
        }
        report.whole = Some(report.damaged_chunks == 0);
        reports.push(report);
    }
    reports
}

/// Compares the boot image by its SHA-256 in the seal, and the root image by its root hash, if the
/// seal has one; else nothing is known of it.
async fn compare_wholes(
    question: &Question<'_>,
    boot: Place,
    statement: &Statement,
) -> Result<Vec<ImageReport>, VerifySlotError> {
    let root = Place::root(question.disk, question.slot)?;
    let mut reports = vec![
        ImageReport::new(ImageRole::Boot, boot.name),
        ImageReport::new(ImageRole::Root, root.name),
    ];
    let guard = StopOnDrop::default();
    let (image, verified) = (statement.boot, statement.root);
    let hash = || {
        let (boot, root) = (boot.clone(), root.clone());
        move |number| {
            let root_is_whole = |verified| matches_root_hash(&root, &verified).unwrap_or(false);
            Ok(match number {
                0 => (number, Some(whole(&boot, image))),
                _ => (number, verified.map(root_is_whole)),
            })
        }
    };
    Workers::start(2, &guard.0, hash)
        .all([0, 1], |(number, whole): (usize, _)| {
            reports[number].whole = whole;
        })
        .await?;
    Ok(reports)
}

/// Whether an image has its SHA-256 as a whole. One that cannot be read has not.
fn whole(place: &Place, image: ImageDigest) -> bool {
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), AlignedBuffer::default(), 0);
    if place.window.len() < place.offset(image.len) {
        return false;
    }
    while at < image.len {
        buffer.resize((image.len - at).min(PIECE) as usize);
        if place.read(Reading::Medium, at, &mut buffer).is_err() {
            return false;
        }
        hasher.update(&*buffer);
        at += buffer.len() as u64;
    }
    hasher.finalize()[..] == image.sha256
}

impl ImageReport {
    const fn new(role: ImageRole, partition: &'static str) -> Self {
        let role = role.as_str();
        Self {
            role,
            partition,
            whole: None,
            damaged_chunks: 0,
            damaged_bytes: 0,
            damaged: Vec::new(),
        }
    }

    fn add(&mut self, damage: Damage) {
        self.damaged_chunks += 1;
        self.damaged_bytes += damage.len;
        let named = self.damaged.len();
        match self.damaged.last_mut() {
            Some(last) if last.offset + last.len == damage.offset => last.len += damage.len,
            _ if named < MAX_NAMED => self.damaged.push(damage),
            _ => {}
        }
    }
}
