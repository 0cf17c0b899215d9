//! Delta bundles: a release as what is new in it against an older one.
//!
//! Every MiB of the new images is compressed with a prefix of those ranges of the old images that
//! it resembles. They are found by samples ([`samples`]), so that it does not matter where in the
//! old images they lie, or how far they are shifted.

mod samples;
mod similarity;

use crate::create::chunker::{Runs, Stretch};
use crate::create::encoder::Encoder;
use crate::create::error::CreateError;
use crate::create::image_file::ImageFile;
use crate::create::payload::{Chunk, Created, Payload, Terms, stored_digest};
use crate::format::cbor::Blob;
use crate::format::index::ChunkKind;
use crate::format::limits::MAX_BASE_RANGES;
use crate::format::manifest::{ImageInfo, ImageRole, Manifest};
use crate::open::delta_base::{Extracted, SLOT_ROLES};
use crate::parallel;
use crate::read::release::Release;
use crate::trust::keys::SecretKey;
use crate::verity::digest;
use similarity::Likeness;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Length of a delta's chunks, in bytes; docs/decisions/0103-delta.md has the figures.
pub const CHUNK_SIZE: u32 = 1 << 20;
/// zstd level of deltas unless a person says otherwise.
pub const DEFAULT_LEVEL: i32 = 19;
/// Chunks are compressed at this level first, which is quick.
const QUICK_LEVEL: i32 = 9;
/// A chunk that the quick level makes shorter than this is not tried again, in bytes: at most this
/// much could be gained.
const SHORT: usize = 4 << 10;

/// Why a delta cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DeltaError {
    #[error("both bundles are release {0}: a delta leads from one release to another")]
    SameVersion(String),
    #[error("releases {old} and {new} have the same boot and root images: nothing would change")]
    SameImages { old: String, new: String },
    #[error("release {new} has no boot and no root image: a delta updates a slot")]
    NoImage { new: String },
    #[error(
        "release {new} has rollback index {new_index}, less than the {old_index} of {old}: machines would refuse it"
    )]
    Older {
        old: String,
        new: String,
        old_index: u64,
        new_index: u64,
    },
    #[error("release {old} is for {}, release {new} for {}: no machine could run both", old_names.join(", "), new_names.join(", "))]
    Incompatible {
        old: String,
        new: String,
        old_names: Vec<String>,
        new_names: Vec<String>,
    },
    #[error("reading the images of release {0}: {1}")]
    Base(String, io::Error),
    #[error("a delta needs more than {MAX_BASE_RANGES} base ranges")]
    Ranges,
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl DeltaError {
    /// Whether the two releases do not go together (true), or something around them failed (false).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Base(..) | Self::Ranges | Self::Create(_))
    }
}

/// How to make a delta.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// zstd level.
    pub level: i32,
    /// Threads; the result does not depend on it. Each takes about 100 MiB at level 19.
    pub workers: usize,
}

/// Whether a delta can lead from the one release to the other. *Pure.*
///
/// # Errors
/// [`DeltaError`].
pub fn check(old: &Release, new: &Release) -> Result<(), DeltaError> {
    let (base, manifest) = (old.manifest(), new.manifest());
    let (old_version, new_version) = (base.version.clone(), manifest.version.clone());
    if old_version == new_version {
        return Err(DeltaError::SameVersion(old_version));
    }
    let digests =
        |release: &Release| SLOT_ROLES.map(|role| release.image(role).map(|image| image.sha256));
    if digests(new) == [None, None] {
        return Err(DeltaError::NoImage { new: new_version });
    }
    if digests(old) == digests(new) {
        return Err(DeltaError::SameImages {
            old: old_version,
            new: new_version,
        });
    }
    let (old_index, new_index) = (base.rollback_index, manifest.rollback_index);
    if new_index < old_index {
        return Err(DeltaError::Older {
            old: old_version,
            new: new_version,
            old_index,
            new_index,
        });
    }
    if !manifest
        .compatible
        .iter()
        .any(|name| base.compatible.contains(name))
    {
        let (old_names, new_names) = (base.compatible.clone(), manifest.compatible.clone());
        return Err(DeltaError::Incompatible {
            old: old_version,
            new: new_version,
            old_names,
            new_names,
        });
    }
    Ok(())
}

/// Makes a delta bundle that leads from `old` to `new`, signed with `keys`: boot and root image of
/// `new`, and all that its manifest says; recovery and guard are no part of it, since an update
/// leaves them as they are. *Reads* the images, those of `old` several times and out of order;
/// *writes* the payload to `spool`, an empty file, and then the bundle to `out`. `progress` is told
/// bytes of the images of both sides. Memory: what [`Options::workers`] says, and 8 bytes for each
/// 256 bytes of `old`.
///
/// # Errors
/// [`DeltaError`]; what is in `out` then is not a bundle.
pub fn make(
    old: &Extracted,
    new: &Extracted,
    options: Options,
    keys: &[SecretKey],
    spool: &mut (impl Read + Write + Seek),
    out: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Created, DeltaError> {
    check(&old.release, &new.release)?;
    let maker = Maker {
        likeness: Likeness::of(old, options.workers, progress)
            .map_err(|error| old_error(old, error))?,
        old,
        options,
    };
    let mut payload = Payload::new(spool);
    let mut images = Vec::new();
    for (role, file) in new.images() {
        images.push(maker.image(*role, file, &mut payload, progress)?);
    }
    let statement = new.release.statement();
    let terms = Terms {
        key_epoch: statement.key_epoch,
        revoke: statement.revoke,
        watchdog: statement.watchdog,
        root: statement.root,
    };
    let manifest = Manifest {
        base: Some(old.as_base()),
        images,
        ..new.release.manifest().clone()
    };
    Ok(payload.seal_up(manifest, None, terms, keys, out)?)
}

fn old_error(old: &Extracted, error: io::Error) -> DeltaError {
    DeltaError::Base(old.release.manifest().version.clone(), error)
}

struct Maker<'a> {
    likeness: Likeness,
    old: &'a Extracted,
    options: Options,
}

/// Why a chunk cannot be made.
enum ChunkError {
    Old(io::Error),
    Compress(io::Error),
}

impl Maker<'_> {
    /// Adds an image to the payload.
    fn image<W: Write>(
        &self,
        role: ImageRole,
        file: &File,
        payload: &mut Payload<'_, W>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ImageInfo, DeltaError> {
        let (version, level) = (&self.old.release.manifest().version, self.options.level);
        let read_error = |error| DeltaError::Base(version.clone(), error);
        let file = file
            .try_clone()
            .and_then(ImageFile::new)
            .map_err(read_error)?;
        let (size, first) = (file.size(), payload.index.chunks.len());
        let mut runs = Runs::new(file, CHUNK_SIZE, false);
        payload.begin_image(None);
        parallel::ordered(
            self.options.workers,
            || runs.next().map_err(read_error),
            || Encoders::new(level),
            |encoders, stretch| match (encoders, stretch) {
                (_, Stretch::Zeroes(len)) => Ok((len, None)),
                (Ok(encoders), Stretch::Run(data)) => self
                    .chunk(encoders, &data)
                    .map(|chunk| (data.len() as u32, Some(chunk))),
                (Err(error), _) => Err(ChunkError::Compress(io::Error::new(
                    error.kind(),
                    error.to_string(),
                ))),
            },
            |done| {
                let (len, chunk) = done.map_err(|error| match error {
                    ChunkError::Old(error) => old_error(self.old, error),
                    ChunkError::Compress(error) => CreateError::Compress { level, error }.into(),
                })?;
                progress(u64::from(len));
                match chunk {
                    None => payload.zeroes += u64::from(len),
                    Some(chunk) => payload.add(vec![chunk])?,
                }
                if payload.index.ranges.len() as u64 > MAX_BASE_RANGES {
                    return Err(DeltaError::Ranges);
                }
                Ok(())
            },
        )?;
        payload.flush_zeroes()?;
        let chunks = (payload.index.chunks.len() - first) as u64;
        Ok(ImageInfo {
            role,
            size,
            chunks,
            sha256: Blob(runs.digest()),
            chunk_size: CHUNK_SIZE,
        })
    }

    /// One chunk of the new image.
    fn chunk(&self, encoders: &mut Encoders, data: &[u8]) -> Result<Chunk, ChunkError> {
        let ranges = self.likeness.ranges(data);
        let prefix_len: usize = ranges.iter().map(|range| range.len as usize).sum();
        let mut buffer = vec![0; prefix_len + data.len()];
        let mut at = 0;
        for range in &ranges {
            let end = at + range.len as usize;
            self.old
                .read(*range, &mut buffer[at..end])
                .map_err(ChunkError::Old)?;
            at = end;
        }
        buffer[at..].copy_from_slice(data);
        let compressed = encoders
            .compress(&buffer, at)
            .map_err(ChunkError::Compress)?;
        let sha256 = digest::digest(data);
        // What does not become shorter needs no base either.
        let (kind, bytes, ranges) = match compressed {
            None => (ChunkKind::Raw, data.to_vec(), Vec::new()),
            Some(bytes) => (ChunkKind::Zstd, bytes, ranges),
        };
        let len = data.len() as u32;
        let stored_digest = stored_digest(kind, &bytes, &sha256);
        Ok(Chunk {
            len,
            kind,
            before: 0,
            sha256,
            // The root hash is known: that of the release that the delta leads to.
            blocks: Vec::new(),
            stored_digest,
            bytes,
            hints: Vec::new(),
            ranges,
        })
    }
}

/// The quick way, and the thorough one where it may pay.
struct Encoders {
    quick: Encoder,
    thorough: Option<Encoder>,
}

impl Encoders {
    fn new(level: i32) -> io::Result<Self> {
        let thorough = (level > QUICK_LEVEL)
            .then(|| Encoder::new(level))
            .transpose()?;
        Ok(Self {
            quick: Encoder::new(level.min(QUICK_LEVEL))?,
            thorough,
        })
    }

    /// What follows the first `prefix_len` bytes of `buffer`, compressed with these as prefix;
    /// `None` if that does not become shorter.
    fn compress(&mut self, buffer: &[u8], prefix_len: usize) -> io::Result<Option<Vec<u8>>> {
        let quick = self.quick.compress_upon(buffer, prefix_len)?;
        let Some(thorough) = self
            .thorough
            .as_mut()
            .filter(|_| quick.as_ref().is_none_or(|it| it.len() >= SHORT))
        else {
            return Ok(quick);
        };
        let again = thorough.compress_upon(buffer, prefix_len)?;
        Ok([quick, again].into_iter().flatten().min_by_key(Vec::len))
    }
}
