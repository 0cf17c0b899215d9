//! Making a bundle: images in, one file out; the same bytes on every machine and with any number of
//! threads.

use crate::cbor::Blob;
use crate::encoder::Encoder;
use crate::hint;
use crate::image_file::ImageFile;
use crate::index::{BaseRange, FrameEntry, FrameKind, Index, zero_digests};
use crate::keys::SecretKey;
use crate::limits::{MAX_FRAME_LEN, MAX_FRAMES, MAX_MANIFEST_LEN};
use crate::manifest::{ImageInfo, ImageRole, IndexInfo, Manifest, ManifestError};
use crate::parallel;
use crate::recipe::{DEFAULT_FRAME_SIZE, ImageInput, Recipe};
use crate::runs::{Runs, Stretch};
use seal::{ImageDigest, SEAL_LEN, Seal, SealError, Statement, Text64};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum CreateError {
    #[error("image {role}: {}: {error}", path.display())]
    Image {
        role: ImageRole,
        path: PathBuf,
        error: io::Error,
    },
    #[error("image {role}: {}: empty", path.display())]
    Empty { role: ImageRole, path: PathBuf },
    #[error("images need more than {MAX_FRAMES} frames: choose a larger frame size")]
    Frames,
    #[error("compressing at level {level}: {error}")]
    Compress { level: i32, error: io::Error },
    #[error("writing: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("manifest of {found} bytes, at most {MAX_MANIFEST_LEN}")]
    ManifestLength { found: u64 },
    #[error("signing: {0}")]
    Sign(SealError),
}

// Written out, so that the cause is part of the message and not a source that would be told twice.
impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The statement that was signed, or is to be.
    pub statement: Statement,
    /// Number of frames.
    pub frames: usize,
    /// Bytes of all images together.
    pub images_len: u64,
}

/// Makes a bundle of what `recipe` names, signed with `keys`. *Reads* the images, once each;
/// *writes* the payload to `spool`, an empty file, and then the whole bundle to `out`: the head
/// comes first and is known last. `progress` is told bytes of images as they are done. Memory: four
/// runs of 512 KiB for each of `workers`, and about 250 bytes for each frame.
///
/// # Errors
/// [`CreateError`]; what is in `out` then is not a bundle.
pub fn create(
    recipe: &Recipe,
    keys: &[SecretKey],
    workers: usize,
    spool: &mut (impl Read + Write + Seek),
    out: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Created, CreateError> {
    let mut images: Vec<&ImageInput> = recipe.images.iter().collect();
    images.sort_by_key(|image| image.role);
    let images = open_images(images)?;
    let mut payload = Payload::new(spool);
    let mut infos = Vec::new();
    for (input, file, frame_size) in images {
        let framing = Framing {
            frame_size,
            window: input.window,
            level: recipe.level,
        };
        infos.push(add_image(
            input,
            file,
            framing,
            workers,
            &mut payload,
            progress,
        )?);
    }
    let hints = Some(std::mem::take(&mut payload.hints));
    let terms = Terms {
        key_epoch: recipe.key_epoch,
        revoke: recipe.revoke,
        watchdog: recipe.watchdog,
    };
    let manifest = Manifest {
        images: infos,
        ..recipe.manifest.clone()
    };
    payload.seal_up(manifest, hints, terms, keys, out)
}

/// What a statement says besides the manifest.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) key_epoch: u64,
    pub(crate) revoke: bool,
    pub(crate) watchdog: bool,
}

/// The statement of a manifest, but for the lengths that are not known yet.
fn statement(terms: Terms, manifest: &Manifest) -> Result<Statement, CreateError> {
    let digest = |role| {
        let image = manifest.images.iter().find(|image| image.role == role);
        image.map_or(ImageDigest::NONE, |image| ImageDigest {
            len: image.size,
            sha256: image.sha256.0,
        })
    };
    let name = || ManifestError::Name {
        name: "version",
        found: manifest.version.clone(),
    };
    Ok(Statement {
        version: Text64::new(&manifest.version).ok_or_else(name)?,
        rollback_index: manifest.rollback_index,
        key_epoch: terms.key_epoch,
        revoke: terms.revoke,
        watchdog: terms.watchdog,
        manifest: ImageDigest::NONE,
        boot: digest(ImageRole::Boot),
        recovery: digest(ImageRole::Recovery),
        bundle_len: 0,
    })
}

/// The images, opened, with their frame sizes.
fn open_images(
    inputs: Vec<&ImageInput>,
) -> Result<Vec<(&ImageInput, ImageFile, u32)>, CreateError> {
    let mut images = Vec::new();
    for input in inputs {
        let (role, path) = (input.role, &input.path);
        let file = ImageFile::open(path).map_err(|error| CreateError::Image {
            role,
            path: path.clone(),
            error,
        })?;
        if file.size() == 0 {
            return Err(CreateError::Empty {
                role,
                path: path.clone(),
            });
        }
        images.push((input, file));
    }
    let sizes: Vec<_> = images
        .iter()
        .map(|(input, file)| (file.size(), input.frame_size))
        .collect();
    let otherwise = frame_size_for(&sizes);
    let images = images.into_iter();
    Ok(images
        .map(|(input, file)| (input, file, input.frame_size.unwrap_or(otherwise)))
        .collect())
}

/// The frame size of the images that ask for none: the smallest from the default on, doubled, with
/// which the images cannot have more frames than a bundle may, whatever is in them. *Pure.*
/// `images`: the size of each, and the frame size that it asks for.
fn frame_size_for(images: &[(u64, Option<u32>)]) -> u32 {
    let frames = |otherwise: u32| -> u64 {
        images
            .iter()
            .map(|(size, asked)| size.div_ceil(u64::from(asked.unwrap_or(otherwise))))
            .sum()
    };
    let mut size = DEFAULT_FRAME_SIZE;
    while frames(size) > MAX_FRAMES && size < MAX_FRAME_LEN {
        size *= 2;
    }
    size
}

/// How an image is cut and compressed.
#[derive(Clone, Copy)]
struct Framing {
    frame_size: u32,
    window: u32,
    level: i32,
}

/// What a worker makes of a stretch.
enum Done {
    Zeroes(u32),
    Run(Vec<Frame>),
}

/// A frame with content.
pub(crate) struct Frame {
    pub(crate) len: u32,
    /// How it is stored; that of a delta is completed when it is added.
    pub(crate) kind: FrameKind,
    pub(crate) before: u32,
    pub(crate) sha256: [u8; 32],
    pub(crate) stored_digest: [u8; 16],
    pub(crate) bytes: Vec<u8>,
    pub(crate) hints: Vec<u8>,
    /// What a delta builds upon.
    pub(crate) ranges: Vec<BaseRange>,
}

fn add_image<W: Write>(
    input: &ImageInput,
    file: ImageFile,
    framing: Framing,
    workers: usize,
    payload: &mut Payload<'_, W>,
    progress: &mut dyn FnMut(u64),
) -> Result<ImageInfo, CreateError> {
    let (role, path, level) = (input.role, &input.path, framing.level);
    let (size, first) = (file.size(), payload.index.frames.len());
    let mut runs = Runs::new(file, framing.frame_size, framing.window > 0);
    payload.begin_image();
    parallel::ordered::<_, _, _, CreateError>(
        workers,
        || {
            runs.next().map_err(|error| CreateError::Image {
                role,
                path: path.clone(),
                error,
            })
        },
        || Encoder::new(level),
        |encoder, stretch| match (encoder, stretch) {
            (_, Stretch::Zeroes(len)) => Ok(Done::Zeroes(len)),
            (Ok(encoder), Stretch::Run(data)) => compress(encoder, &data, framing).map(Done::Run),
            (Err(error), _) => Err(io::Error::new(error.kind(), error.to_string())),
        },
        |done: io::Result<Done>| {
            match done.map_err(|error| CreateError::Compress { level, error })? {
                Done::Zeroes(len) => {
                    payload.zeroes += u64::from(len);
                    progress(u64::from(len));
                }
                Done::Run(frames) => {
                    progress(frames.iter().map(|frame| u64::from(frame.len)).sum());
                    payload.add(frames)?;
                }
            }
            Ok(())
        },
    )?;
    payload.flush_zeroes()?;
    Ok(ImageInfo {
        role,
        size,
        frames: (payload.index.frames.len() - first) as u64,
        sha256: Blob(runs.digest()),
        frame_size: framing.frame_size,
    })
}

/// Hashes `len` zeroes.
pub(crate) fn hash_zeroes(hash: &mut Sha256, len: u32) {
    static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = len as usize;
    while left > 0 {
        let step = left.min(ZEROES.len());
        hash.update(&ZEROES[..step]);
        left -= step;
    }
}

fn compress(encoder: &mut Encoder, run: &[u8], framing: Framing) -> io::Result<Vec<Frame>> {
    let (frame_size, window) = (framing.frame_size as usize, framing.window as usize);
    let compressed = encoder.compress_run(run, frame_size, window)?;
    let frames = run.chunks(frame_size).zip(compressed).enumerate();
    Ok(frames
        .map(|(number, (data, compressed))| {
            let sha256: [u8; 32] = Sha256::digest(data).into();
            let kind = if compressed.is_some() {
                FrameKind::Zstd
            } else {
                FrameKind::Raw
            };
            let bytes = compressed.unwrap_or_else(|| data.to_vec());
            let before = window.min(number * frame_size) as u32;
            let (len, stored_digest, hints) =
                (data.len() as u32, stored_digest(&bytes), hint::encode(data));
            Frame {
                len,
                kind,
                before,
                sha256,
                stored_digest,
                bytes,
                hints,
                ranges: Vec::new(),
            }
        })
        .collect())
}

/// What the index says of stored bytes: the first half of their SHA-256.
pub(crate) fn stored_digest(bytes: &[u8]) -> [u8; 16] {
    seal::field::get(&Sha256::digest(bytes), 0)
}

/// The payload as it grows, and its index.
pub(crate) struct Payload<'a, W> {
    spool: &'a mut W,
    pub(crate) index: Index,
    hints: Vec<u8>,
    len: u64,
    /// Zeroes not yet written as a frame.
    pub(crate) zeroes: u64,
    /// Digests of zeroes by their length.
    zero_digests: HashMap<u32, [u8; 32]>,
    /// Frames of the present image with stored bytes, by their digest.
    known: HashMap<[u8; 32], usize>,
}

impl<'a, W: Write> Payload<'a, W> {
    pub(crate) fn new(spool: &'a mut W) -> Self {
        let (index, hints) = (Index::default(), Vec::new());
        Self {
            spool,
            index,
            hints,
            len: 0,
            zeroes: 0,
            zero_digests: HashMap::new(),
            known: HashMap::new(),
        }
    }

    pub(crate) fn begin_image(&mut self) {
        self.known.clear();
    }

    /// Takes the frames of a run.
    pub(crate) fn add(&mut self, run: Vec<Frame>) -> Result<(), CreateError> {
        self.flush_zeroes()?;
        let alone = run.len() == 1;
        for frame in run {
            let number = self.index.frames.len();
            let earlier = self.known.get(&frame.sha256).copied();
            let earlier =
                earlier.filter(|earlier| alone && self.index.frames[*earlier].len == frame.len);
            if let Some(earlier) = earlier {
                self.push(
                    Stored::nothing(FrameKind::Repeat { frame: earlier }),
                    frame.len,
                    frame.sha256,
                )?;
                continue;
            }
            self.known.insert(frame.sha256, number);
            let Frame {
                len,
                kind,
                before,
                sha256,
                stored_digest: digest,
                bytes,
                hints,
                ranges,
            } = frame;
            let first_range = self.index.ranges.len();
            let kind = match ranges.len() {
                0 => kind,
                ranges => FrameKind::Delta {
                    first_range,
                    ranges,
                },
            };
            self.index.ranges.extend(ranges);
            self.push(
                Stored {
                    kind,
                    before,
                    len: bytes.len() as u32,
                    digest,
                },
                len,
                sha256,
            )?;
            self.spool.write_all(&bytes)?;
            self.hints.extend_from_slice(&hints);
        }
        Ok(())
    }

    /// Writes the zeroes as frames, as few as possible.
    pub(crate) fn flush_zeroes(&mut self) -> Result<(), CreateError> {
        while self.zeroes > 0 {
            let len = self.zeroes.min(u64::from(MAX_FRAME_LEN)) as u32;
            let digest = || zero_digests([len].into()).remove(&len).unwrap_or_default();
            let sha256 = *self.zero_digests.entry(len).or_insert_with(digest);
            self.push(Stored::nothing(FrameKind::Zero), len, sha256)?;
            self.zeroes -= u64::from(len);
        }
        Ok(())
    }

    fn push(&mut self, stored: Stored, len: u32, sha256: [u8; 32]) -> Result<(), CreateError> {
        if self.index.frames.len() as u64 == MAX_FRAMES {
            return Err(CreateError::Frames);
        }
        let Stored {
            kind,
            before,
            len: stored_len,
            digest: stored_digest,
        } = stored;
        // Image and offset follow from the order when the index is read; they are not part of its
        // encoding.
        let (image, offset, payload_offset) = (0, 0, self.len);
        self.len += u64::from(stored_len);
        self.index.frames.push(FrameEntry {
            image,
            offset,
            len,
            kind,
            before,
            payload_offset,
            stored_len,
            sha256,
            stored_digest,
        });
        Ok(())
    }
}

impl<W: Read + Write + Seek> Payload<'_, W> {
    /// Signs what `manifest` says of the release and what has been added to the payload, and writes
    /// the bundle. *Reads* the spool and *writes* `out`.
    pub(crate) fn seal_up(
        self,
        manifest: Manifest,
        hints: Option<Vec<u8>>,
        terms: Terms,
        keys: &[SecretKey],
        out: &mut impl Write,
    ) -> Result<Created, CreateError> {
        let (index, spool) = (self.index, self.spool);
        let images_len = manifest.images.iter().map(|image| image.size).sum();
        let index_bytes = index.encode();
        let manifest = Manifest {
            hints: hints
                .as_ref()
                .map(|hints| Blob(Sha256::digest(hints).into())),
            index: IndexInfo {
                frames: index.frames.len() as u64,
                ranges: index.ranges.len() as u64,
                sha256: Blob(Sha256::digest(&index_bytes).into()),
            },
            payload: self.len,
            ..manifest
        };
        let hints = hints.unwrap_or_default();
        let manifest_bytes = manifest.encode()?;
        let found = manifest_bytes.len() as u64;
        if found > MAX_MANIFEST_LEN {
            return Err(CreateError::ManifestLength { found });
        }
        let statement = Statement {
            bundle_len: SEAL_LEN as u64
                + found
                + index_bytes.len() as u64
                + self.len
                + hints.len() as u64,
            manifest: ImageDigest {
                len: found,
                sha256: Sha256::digest(&manifest_bytes).into(),
            },
            ..statement(terms, &manifest)?
        };
        let mut seal = Seal::new(&statement);
        keys.iter()
            .try_for_each(|key| key.sign_seal(&mut seal))
            .map_err(CreateError::Sign)?;
        out.write_all(seal.as_bytes())?;
        out.write_all(&manifest_bytes)?;
        out.write_all(&index_bytes)?;
        spool.rewind()?;
        io::copy(spool, out)?;
        out.write_all(&hints)?;
        out.flush()?;
        Ok(Created {
            statement,
            frames: index.frames.len(),
            images_len,
        })
    }
}

/// How a frame is stored.
struct Stored {
    kind: FrameKind,
    before: u32,
    len: u32,
    digest: [u8; 16],
}

impl Stored {
    /// A frame for which nothing is stored.
    const fn nothing(kind: FrameKind) -> Self {
        Self {
            kind,
            before: 0,
            len: 0,
            digest: [0; 16],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_grow_with_the_images_and_never_are_too_many() {
        const GIB: u64 = 1 << 30;
        for (images, expected) in [
            (vec![(1, None)], 16),
            (vec![(4 * GIB, None)], 16),
            (vec![(4 * GIB + 1, None)], 32),
            // As many bytes as fit, but each image has a last frame of its own.
            (vec![(1, None), (4 * GIB - 1, None)], 32),
            (vec![(8 * GIB, None)], 32),
            (vec![(100 << 20, None), (8 * GIB, None)], 64),
            (vec![(32 * GIB, None)], 128),
            (vec![(1 << 40, None)], 4096),
            // More than a bundle can hold: creating it says so once it is reached, since zeroes may
            // make it fit.
            (vec![(1 << 41, None)], 4096),
            // What an image asks for is left alone, and counts.
            (vec![(32 * GIB, Some(MAX_FRAME_LEN)), (3 * GIB, None)], 16),
            (vec![(1 << 29, Some(4096)), (3 * GIB, None)], 32),
        ] {
            let size = frame_size_for(&images);
            assert_eq!(size, expected << 10, "{images:?}");
        }
    }
}
