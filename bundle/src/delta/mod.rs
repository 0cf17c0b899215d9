//! Delta bundles: the difference of a release from an older one.
//!
//! Each MiB of the new images is compressed with those ranges of the old images as prefix that it
//! resembles. They are found by samples, at any offset in the old images.
//!
//! | module | holds |
//! | --- | --- |
//! | `error` | [`DeltaError`] |
//! | `samples` | content-defined samples of bytes |
//! | `similarity` | finds the ranges of the old images that resemble new bytes |

pub(crate) mod error;
mod samples;
mod similarity;

pub use error::DeltaError;

use crate::create::chunker::Chunker;
use crate::create::encoder::Encoder;
use crate::create::error::CreateError;
use crate::create::image_file::ImageFile;
use crate::create::new_image::{ImageEncoder, NewImage};
use crate::create::payload::{
    BundleOutput, Created, EncodedChunk, Payload, ReleasePolicy, stored_digest,
};
use crate::format::index::ChunkKind;
use crate::format::manifest::Manifest;
use crate::open::slot_images::{SLOT_ROLES, SlotImages};
use crate::read::release::Release;
use crate::trust::keys::SecretKey;
use crate::verity::digest;
use similarity::SimilarityIndex;
use std::io::{self, Read, Seek, Write};

/// Length of a delta's chunks, in bytes. Figures: docs/decisions/0103-delta.md.
pub const CHUNK_SIZE: u32 = 1 << 20;
/// Default level of zstd for deltas.
pub const DEFAULT_LEVEL: i32 = 19;
/// Chunks are compressed at this level first, which is fast.
const FAST_LEVEL: i32 = 9;
/// A chunk that the fast level makes shorter than this is not compressed again, in bytes: a second
/// pass could save no more than that.
const SHORT: usize = 4 << 10;

/// How to create a delta.
#[derive(Clone, Copy, Debug)]
pub struct DeltaOptions<'a> {
    /// Keys to sign with.
    pub keys: &'a [SecretKey],
    /// Level of zstd.
    pub level: i32,
    /// Number of threads; the result does not depend on it. Each takes about 100 MiB at level 19.
    pub workers: usize,
}

/// Checks that a delta can update from release `old` to release `new`. *Pure.*
///
/// # Errors
/// [`DeltaError`].
pub fn check(old: &Release, new: &Release) -> Result<(), DeltaError> {
    let old_manifest = old.manifest();
    let new_manifest = new.manifest();
    let old_version = || old_manifest.version.clone();
    let new_version = || new_manifest.version.clone();
    if old_manifest.version == new_manifest.version {
        return Err(DeltaError::SameVersion(old_version()));
    }
    let digests =
        |release: &Release| SLOT_ROLES.map(|role| release.image(role).map(|image| image.sha256));
    if digests(new) == [None, None] {
        return Err(DeltaError::NoImage { new: new_version() });
    }
    if digests(old) == digests(new) {
        return Err(DeltaError::SameImages {
            old: old_version(),
            new: new_version(),
        });
    }
    if new_manifest.rollback_index < old_manifest.rollback_index {
        return Err(DeltaError::Older {
            old: old_version(),
            new: new_version(),
            old_index: old_manifest.rollback_index,
            new_index: new_manifest.rollback_index,
        });
    }
    let shared = |name| old_manifest.compatible.contains(name);
    if !new_manifest.compatible.iter().any(shared) {
        return Err(DeltaError::Incompatible {
            old: old_version(),
            new: new_version(),
            old_names: old_manifest.compatible.clone(),
            new_names: new_manifest.compatible.clone(),
        });
    }
    Ok(())
}

/// Creates a delta bundle from `old` to `new`: boot and root image of `new`, and its manifest.
/// Recovery and guard are left out, because an update does not write them. *Reads* the images,
/// those of `old` several times and out of order; *writes* the payload to the spool and then the
/// bundle to the output. `progress` receives numbers of bytes of the images of both releases.
///
/// Memory: see [`DeltaOptions::workers`], and 8 bytes for each 256 bytes of `old`.
///
/// # Errors
/// [`DeltaError`]. The output then does not hold a bundle.
///
/// # Power loss
/// Leaves an incomplete bundle in the output, which every reader refuses.
pub fn create<S: Read + Write + Seek, W: Write>(
    old: &SlotImages,
    new: &SlotImages,
    options: DeltaOptions<'_>,
    output: BundleOutput<'_, S, W>,
    progress: &mut dyn FnMut(u64),
) -> Result<Created, DeltaError> {
    check(old.release(), new.release())?;
    let encoder = DeltaEncoder {
        similarity: SimilarityIndex::of(old, options.workers, progress)
            .map_err(|error| read_error(old, error))?,
        old,
        new,
        level: options.level,
    };
    let mut payload = Payload::without_hints(output.spool);
    let mut images = Vec::new();
    for image in new.images() {
        let file = image.file.try_clone().and_then(ImageFile::new);
        let file = file.map_err(|error| read_error(new, error))?;
        let image = NewImage {
            role: image.role,
            chunker: Chunker::new(file, CHUNK_SIZE, false),
            has_tree: false,
        };
        images.push(payload.add_image(image, &encoder, options.workers, progress)?);
    }
    let statement = new.release().statement();
    let policy = ReleasePolicy {
        links: new.release().links().to_vec(),
        key_epoch: statement.key_epoch,
        revoke: statement.revoke,
        watchdog: statement.watchdog,
        // The delta leads to the images of the new release, so to its root hash.
        root: statement.root,
    };
    let manifest = Manifest {
        base: Some(old.as_base()),
        images,
        ..new.release().manifest().clone()
    };
    Ok(payload.finish(manifest, policy, options.keys, output.out)?)
}

fn read_error(images: &SlotImages, error: io::Error) -> DeltaError {
    DeltaError::Read(images.release().manifest().version.clone(), error)
}

/// Compresses chunks of the new images with similar ranges of the old ones as prefix.
struct DeltaEncoder<'a> {
    similarity: SimilarityIndex,
    old: &'a SlotImages,
    new: &'a SlotImages,
    level: i32,
}

impl ImageEncoder for DeltaEncoder<'_> {
    type Worker = TwoPassEncoder;
    type Error = DeltaError;

    fn worker(&self) -> io::Result<TwoPassEncoder> {
        TwoPassEncoder::new(self.level)
    }

    fn encode(
        &self,
        encoder: &mut TwoPassEncoder,
        chunk: &[u8],
    ) -> Result<Vec<EncodedChunk>, DeltaError> {
        let ranges = self.similarity.ranges(chunk);
        let prefix_len: usize = ranges.iter().map(|range| range.len as usize).sum();
        let mut buffer = vec![0; prefix_len + chunk.len()];
        let mut at = 0;
        for range in &ranges {
            let end = at + range.len as usize;
            self.old
                .read(*range, &mut buffer[at..end])
                .map_err(|error| read_error(self.old, error))?;
            at = end;
        }
        buffer[at..].copy_from_slice(chunk);
        let compressed = encoder
            .compress(&buffer, prefix_len)
            .map_err(|error| self.compress_error(error))?;
        let (kind, stored, ranges) = match compressed {
            Some(compressed) => (ChunkKind::Zstd, compressed, ranges),
            None => (ChunkKind::Raw, chunk.to_vec(), Vec::new()),
        };
        let sha256 = digest::digest(chunk);
        Ok(vec![EncodedChunk {
            len: chunk.len() as u32,
            kind,
            before: 0,
            sha256,
            blocks: Vec::new(),
            stored_digest: stored_digest(kind, &stored, &sha256),
            stored,
            hints: Vec::new(),
            ranges,
        }])
    }

    fn read_error(&self, error: io::Error) -> DeltaError {
        read_error(self.new, error)
    }

    fn compress_error(&self, error: io::Error) -> DeltaError {
        let level = self.level;
        CreateError::Compress { level, error }.into()
    }
}

/// Compresses at a fast level, and again at a higher one if that can save much.
struct TwoPassEncoder {
    fast: Encoder,
    thorough: Option<Encoder>,
}

impl TwoPassEncoder {
    fn new(level: i32) -> io::Result<Self> {
        let thorough = (level > FAST_LEVEL)
            .then(|| Encoder::new(level))
            .transpose()?;
        Ok(Self {
            fast: Encoder::new(level.min(FAST_LEVEL))?,
            thorough,
        })
    }

    /// Returns the bytes after the first `prefix_len` bytes of `buffer`, compressed with these as
    /// prefix; `None` if they do not become shorter.
    fn compress(&mut self, buffer: &[u8], prefix_len: usize) -> io::Result<Option<Vec<u8>>> {
        let first = self.fast.compress_with_prefix(buffer, prefix_len)?;
        let is_short = first.as_ref().is_some_and(|frame| frame.len() < SHORT);
        match &mut self.thorough {
            Some(thorough) if !is_short => {
                let second = thorough.compress_with_prefix(buffer, prefix_len)?;
                Ok([first, second].into_iter().flatten().min_by_key(Vec::len))
            }
            _ => Ok(first),
        }
    }
}
