//! The base of a delta: the release that the other slot was signed to hold.

use super::hash::{image_digest, matches_digest};
use super::image_location::{ImageLocation, ReadFrom};
use super::stored_metadata::{MetadataError, SealedSlot, StoredMetadata};
use crate::error::{ApplyError, DamagedBase};
use crate::plan::Refusal;
use bundle::manifest::{Base, BaseImage};
use bundle::{BaseRange, ChunkEntry, DecodeError, ImageRole, Release};
use seal::Statement;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

/// The slot that a delta builds upon. Its seal says that it holds the base. Its bytes are not
/// trusted: every chunk decoded from them must have its signed digest.
pub(crate) struct DeltaBase {
    version: String,
    boot: ImageLocation,
    root: ImageLocation,
    /// The base with its index, if the slot stores it.
    release: Option<Arc<Release>>,
}

/// A delta chunk that could not be decoded, because the base is damaged.
#[derive(Debug)]
pub(crate) struct FailedDelta {
    pub(crate) chunk: usize,
    pub(crate) error: DecodeError,
}

impl DeltaBase {
    /// Returns the base of `release`, if the slot holds it; `None` if `release` is a full bundle.
    /// *Reads* the slot's metadata, and its root image only if the slot stores no manifest.
    ///
    /// # Errors
    /// [`Refusal`] if the slot holds anything else, or its content is unknown.
    pub(crate) async fn find(
        slot: SealedSlot<'_>,
        release: &Release,
    ) -> Result<Option<Self>, ApplyError> {
        let Some(base) = &release.manifest().base else {
            return Ok(None);
        };
        let check = BaseCheck {
            version: &release.manifest().version,
            base,
            slot,
        };
        Ok(Some(check.find().await?))
    }

    fn location(&self, role: ImageRole) -> Option<&ImageLocation> {
        match role {
            ImageRole::Boot => Some(&self.boot),
            ImageRole::Root => Some(&self.root),
            ImageRole::Recovery | ImageRole::Guard => None,
        }
    }

    /// Reads a range of the base.
    pub(crate) fn read(&self, range: BaseRange, into: &mut [u8]) -> io::Result<()> {
        let location = self
            .location(range.role)
            .ok_or(io::ErrorKind::Unsupported)?;
        // Neighbouring chunks build upon the same ranges.
        location.read(ReadFrom::Cache, range.offset, into)
    }

    /// Returns the damage because of which a chunk could not be decoded, as precisely as it is
    /// known. *Reads* the ranges that the chunk builds upon.
    pub(crate) fn find_damage(&self, release: &Release, failed: FailedDelta) -> DamagedBase {
        let ranges = release
            .chunk(failed.chunk)
            .map(|chunk| release.base_ranges(chunk))
            .unwrap_or_default();
        let range = ranges
            .iter()
            .find_map(|range| self.damaged_chunk_in(range))
            .or_else(|| ranges.first().copied())
            .unwrap_or(BaseRange {
                role: ImageRole::Root,
                offset: 0,
                len: 0,
            });
        let location = self.location(range.role).unwrap_or(&self.root);
        DamagedBase {
            partition: location.partition,
            start: location.offset(range.offset),
            len: u64::from(range.len),
            base: self.version.clone(),
            version: release.manifest().version.clone(),
            error: failed.error,
        }
    }

    /// Returns the first chunk of the base in `range` that does not have its digest, if the slot
    /// stores the index of the base.
    fn damaged_chunk_in(&self, range: &BaseRange) -> Option<BaseRange> {
        let release = self.release.as_ref()?;
        let image = release.image(range.role)?;
        let location = self.location(range.role)?;
        let end = range.offset + u64::from(range.len);
        let overlaps = |chunk: &ChunkEntry| {
            chunk.offset < end && range.offset < chunk.offset + u64::from(chunk.len)
        };
        let is_damaged = |chunk: &ChunkEntry| {
            let mut bytes = vec![0; chunk.len as usize];
            let read = location.read(ReadFrom::Cache, chunk.offset, &mut bytes);
            read.is_err() || !matches_digest(chunk, &bytes, &mut Vec::new())
        };
        let chunks = release.chunks().get(image.chunks.clone())?;
        let damaged = chunks
            .iter()
            .find(|chunk| overlaps(chunk) && is_damaged(chunk))?;
        Some(BaseRange {
            role: range.role,
            offset: damaged.offset,
            len: damaged.len,
        })
    }
}

/// The check that a slot holds the base of a delta.
struct BaseCheck<'a> {
    version: &'a str,
    base: &'a Base,
    slot: SealedSlot<'a>,
}

impl BaseCheck<'_> {
    async fn find(&self) -> Result<DeltaBase, ApplyError> {
        let SealedSlot { disk, slot, .. } = self.slot;
        let metadata = self.slot.metadata().map_err(|error| match error {
            MetadataError::Disk(error) => error.into(),
            MetadataError::Seal(error) => ApplyError::from(self.unknown(&error)),
        })?;
        let StoredMetadata { statement, release } = metadata;
        if statement.version.as_str() != self.base.version {
            return Err(Refusal::OtherBase {
                version: self.version.to_owned(),
                base: self.base.version.clone(),
                slot,
                holds: statement.version.to_string(),
            }
            .into());
        }
        let found = DeltaBase {
            version: self.base.version.clone(),
            boot: ImageLocation::boot(disk, slot)?,
            root: ImageLocation::root(disk, slot)?,
            release,
        };
        self.check_images(&found, &statement).await?;
        self.check_room(&found, &statement)
            .map_err(|error| self.unknown(&error))?;
        Ok(found)
    }

    /// Checks that the slot is signed for the images of the base.
    async fn check_images(&self, found: &DeltaBase, statement: &Statement) -> Result<(), Refusal> {
        for image in &self.base.images {
            let is_same = match image.role {
                ImageRole::Boot => statement.boot.sha256 == image.sha256.0,
                _ => holds_image(found, image)
                    .await
                    .map_err(|error| self.unknown(&error))?,
            };
            if !is_same {
                return Err(Refusal::OtherBuild {
                    version: self.version.to_owned(),
                    base: self.base.version.clone(),
                    slot: self.slot.slot,
                    role: image.role,
                });
            }
        }
        Ok(())
    }

    /// Checks that the partitions are as long as the images that they are signed for.
    fn check_room(&self, found: &DeltaBase, statement: &Statement) -> io::Result<()> {
        let fits = |image: &BaseImage| {
            let is_expected_size =
                image.role != ImageRole::Boot || statement.boot.len == image.size;
            let location = found.location(image.role);
            is_expected_size && location.is_some_and(|location| location.has_room_for(image.size))
        };
        if self.base.images.iter().all(fits) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn unknown(&self, error: &dyn Display) -> Refusal {
        Refusal::BaseUnknown {
            version: self.version.to_owned(),
            base: self.base.version.clone(),
            slot: self.slot.slot,
            error: error.to_string(),
        }
    }
}

/// Returns whether the slot is signed for `image`; if it stores no manifest, whether it holds it.
async fn holds_image(found: &DeltaBase, image: &BaseImage) -> io::Result<bool> {
    if let Some(release) = &found.release {
        let stored = release.image(image.role);
        return Ok(stored.is_some_and(|stored| stored.sha256 == image.sha256.0));
    }
    let location = found.location(image.role).cloned();
    let (location, size) = (location.ok_or(io::ErrorKind::NotFound)?, image.size);
    let hashed =
        tokio::task::spawn_blocking(move || image_digest(&location, size, ReadFrom::Cache));
    let digest = hashed.await.map_err(io::Error::other)?;
    Ok(digest.map_err(|error| error.source)? == image.sha256.0)
}
