//! The release that a delta builds upon: what the other slot was signed to hold, and what is wrong
//! with it where a chunk does not come out.

use crate::error::{ApplyError, DamagedBase};
use crate::plan::Refusal;
use crate::slot::hash::{digest, matches_digest};
use crate::slot::image_location::Place;
use crate::slot::stored_metadata as kept;
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bundle::manifest::{Base, BaseImage};
use bundle::{BaseRange, DecodeError, ImageRole, Release};
use record::Slot;
use seal::{Statement, Trust};
use std::io;
use std::sync::Arc;

/// The slot that a delta builds upon. It was signed as the delta's base; its bytes are believed by
/// nobody, since what is made of them must have the SHA-256 of the new release.
pub(crate) struct Basis {
    version: String,
    boot: Place,
    root: Place,
    kept: Option<Arc<Release>>,
}

/// A chunk that could not be made of the base.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) chunk: usize,
    pub(crate) error: DecodeError,
}

impl Basis {
    /// The slot that `release` builds upon, if that is `slot`; `None` for a whole bundle. *Reads*
    /// the slot's seal and what it keeps of its bundle; where that is not there, its root image.
    ///
    /// # Errors
    /// [`Refusal`]: the slot holds something else, or it cannot be told what.
    pub(crate) async fn find(
        disk: &Disk,
        slot: Slot,
        trust: &Trust,
        release: &Release,
    ) -> Result<Option<Self>, ApplyError> {
        let Some(base) = &release.manifest().base else {
            return Ok(None);
        };
        let place = (Place::boot(disk, slot)?, Place::root(disk, slot)?);
        let version = || release.manifest().version.clone();
        let unknown = |error: &dyn std::fmt::Display| Refusal::BaseUnknown {
            version: version(),
            base: base.version.clone(),
            slot,
            error: error.to_string(),
        };
        let (statement, kept) =
            kept::read(&place.0.window, trust).map_err(|error| unknown(&error))?;
        if statement.version.as_str() != base.version {
            let (base, holds) = (base.version.clone(), statement.version.to_string());
            return Err(Refusal::OtherBase {
                version: version(),
                base,
                slot,
                holds,
            }
            .into());
        }
        let basis = Self {
            version: base.version.clone(),
            boot: place.0,
            root: place.1,
            kept,
        };
        for image in &base.images {
            let same = match image.role {
                ImageRole::Boot => statement.boot.sha256 == image.sha256.0,
                _ => basis
                    .is_signed_for(image)
                    .await
                    .map_err(|error| unknown(&error))?,
            };
            if !same {
                let (base, role) = (base.version.clone(), image.role);
                return Err(Refusal::OtherBuild {
                    version: version(),
                    base,
                    slot,
                    role,
                }
                .into());
            }
        }
        basis
            .has_room(base, &statement)
            .map_err(|error| unknown(&error))?;
        Ok(Some(basis))
    }

    /// Whether the slot was signed to hold `image`; where that cannot be told, whether it does.
    async fn is_signed_for(&self, image: &BaseImage) -> io::Result<bool> {
        if let Some(kept) = &self.kept {
            return Ok(kept
                .image(image.role)
                .is_some_and(|held| held.sha256 == image.sha256.0));
        }
        let (place, size) = (
            self.place(image.role)
                .cloned()
                .ok_or(io::ErrorKind::NotFound)?,
            image.size,
        );
        let hashed = tokio::task::spawn_blocking(move || digest(&place, size));
        Ok(hashed.await.map_err(io::Error::other)?? == image.sha256.0)
    }

    /// Whether the partitions are as long as the images that they are said to hold.
    fn has_room(&self, base: &Base, statement: &Statement) -> io::Result<()> {
        let fits = base.images.iter().all(|image| {
            let size = if image.role == ImageRole::Boot {
                statement.boot.len
            } else {
                image.size
            };
            let place = self.place(image.role);
            size == image.size
                && place.is_some_and(|place| {
                    size.checked_add(place.base)
                        .is_some_and(|end| end <= place.window.len())
                })
        });
        if fits {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn place(&self, role: ImageRole) -> Option<&Place> {
        match role {
            ImageRole::Boot => Some(&self.boot),
            ImageRole::Root => Some(&self.root),
            ImageRole::Recovery | ImageRole::Guard => None,
        }
    }

    /// Reads a range of the base.
    pub(crate) fn read(&self, range: BaseRange, into: &mut [u8]) -> io::Result<()> {
        let place = self.place(range.role).ok_or(io::ErrorKind::Unsupported)?;
        // Neighbouring chunks build upon the same ranges: the cache should keep them.
        place.window.read_at(place.offset(range.offset), into)
    }

    /// What is wrong with the base, as far as it can be told, where a chunk does not come out.
    /// *Reads* what the chunk builds upon.
    pub(crate) fn damage(&self, release: &Release, lost: Lost) -> DamagedBase {
        let ranges = release
            .chunk(lost.chunk)
            .map(|chunk| release.base_ranges(chunk))
            .unwrap_or_default();
        let found = ranges.iter().find_map(|range| self.damage_in(*range));
        let whole = |range: &BaseRange| (*range, range.len);
        let (range, len) = found.or_else(|| ranges.first().map(whole)).unwrap_or((
            BaseRange {
                role: ImageRole::Root,
                offset: 0,
                len: 0,
            },
            0,
        ));
        let place = self.place(range.role).unwrap_or(&self.root);
        DamagedBase {
            partition: place.name,
            start: place.offset(range.offset),
            len: u64::from(len),
            base: self.version.clone(),
            version: release.manifest().version.clone(),
            error: lost.error,
        }
    }

    /// The first chunk in a range that is not as it was signed, if the slot keeps its index.
    fn damage_in(&self, range: BaseRange) -> Option<(BaseRange, u32)> {
        let kept = self.kept.as_ref()?;
        let image = kept.image(range.role)?;
        let place = self.place(range.role)?;
        let chunks = kept.chunks().get(image.chunks.clone())?;
        let end = range.offset + u64::from(range.len);
        let touched = |chunk: &&bundle::ChunkEntry| {
            chunk.offset < end && range.offset < chunk.offset + u64::from(chunk.len)
        };
        let damaged = chunks.iter().filter(touched).find(|chunk| {
            let mut bytes = vec![0; chunk.len as usize];
            place
                .window
                .read_at(place.offset(chunk.offset), &mut bytes)
                .is_err()
                || !matches_digest(chunk, &bytes, &mut Vec::new())
        })?;
        let (role, offset, len) = (range.role, damaged.offset, damaged.len);
        Some((BaseRange { role, offset, len }, len))
    }
}
