//! Making a bundle: images in, one file out; the same bytes on every machine and with any number of threads.

use crate::cbor::Blob;
use crate::frame::Encoder;
use crate::image_file::{ImageFile, Piece};
use crate::index::{FrameEntry, FrameKind, Index, zero_digests};
use crate::keys::SecretKey;
use crate::limits::{BLOCK_LEN, MAX_FRAME_LEN, MAX_FRAMES, MAX_MANIFEST_LEN};
use crate::manifest::{ImageInfo, ImageRole, IndexInfo, Manifest, ManifestError};
use crate::parallel;
use crate::recipe::{ImageInput, Recipe};
use seal::{ImageDigest, SEAL_LEN, Seal, SealError, Statement, Text64};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use twox_hash::XxHash3_64;

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum CreateError {
    #[error("image {role}: {}: {error}", path.display())]
    Image { role: ImageRole, path: PathBuf, error: io::Error },
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

/// Makes a bundle of what `recipe` names, signed with `keys`. *Reads* the images, once each; *writes* the payload to
/// `spool`, an empty file, and then the whole bundle to `out`: the head comes first and is known last. `progress` is told bytes of images as
/// they are done. Memory: four frames for each of `workers`, and about 200 bytes for each frame.
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
    let mut payload = Payload::new(spool);
    let mut infos = Vec::new();
    for image in images {
        infos.push(add_image(image, recipe.level, workers, &mut payload, progress)?);
    }
    let Payload { index, hints, len, spool, .. } = payload;
    let images_len = infos.iter().map(|image| image.size).sum();
    let index_bytes = index.encode();
    let manifest = Manifest {
        hints: Some(Blob(Sha256::digest(&hints).into())),
        index: IndexInfo {
            frames: index.frames.len() as u64,
            ranges: 0,
            sha256: Blob(Sha256::digest(&index_bytes).into()),
        },
        images: infos,
        payload: len,
        ..recipe.manifest.clone()
    };
    let manifest_bytes = manifest.encode()?;
    let found = manifest_bytes.len() as u64;
    if found > MAX_MANIFEST_LEN {
        return Err(CreateError::ManifestLength { found });
    }
    let statement = Statement {
        bundle_len: SEAL_LEN as u64 + found + index_bytes.len() as u64 + len + hints.len() as u64,
        manifest: ImageDigest { len: found, sha256: Sha256::digest(&manifest_bytes).into() },
        ..statement(recipe, &manifest)?
    };
    let mut seal = Seal::new(&statement);
    keys.iter().try_for_each(|key| key.sign_seal(&mut seal)).map_err(CreateError::Sign)?;
    out.write_all(seal.as_bytes())?;
    out.write_all(&manifest_bytes)?;
    out.write_all(&index_bytes)?;
    spool.rewind()?;
    io::copy(spool, out)?;
    out.write_all(&hints)?;
    out.flush()?;
    Ok(Created { statement, frames: index.frames.len(), images_len })
}

/// The statement of a manifest, but for the lengths that are not known yet.
fn statement(recipe: &Recipe, manifest: &Manifest) -> Result<Statement, CreateError> {
    let digest = |role| {
        let image = manifest.images.iter().find(|image| image.role == role);
        image.map_or(ImageDigest::NONE, |image| ImageDigest { len: image.size, sha256: image.sha256.0 })
    };
    let name = || ManifestError::Name { name: "version", found: manifest.version.clone() };
    Ok(Statement {
        version: Text64::new(&manifest.version).ok_or_else(name)?,
        rollback_index: manifest.rollback_index,
        key_epoch: recipe.key_epoch,
        revoke: recipe.revoke,
        watchdog: recipe.watchdog,
        manifest: ImageDigest::NONE,
        boot: digest(ImageRole::Boot),
        recovery: digest(ImageRole::Recovery),
        bundle_len: 0,
    })
}

/// What a worker makes of a piece.
enum Frame {
    Zero {
        len: u32,
    },
    Stored {
        len: u32,
        kind: FrameKind,
        sha256: [u8; 32],
        stored_sha256: [u8; 32],
        bytes: Vec<u8>,
        hints: Vec<u8>,
    },
}

fn add_image<W: Write>(
    input: &ImageInput,
    level: i32,
    workers: usize,
    payload: &mut Payload<'_, W>,
    progress: &mut dyn FnMut(u64),
) -> Result<ImageInfo, CreateError> {
    let (role, path) = (input.role, &input.path);
    let image_error = |error| CreateError::Image { role, path: path.clone(), error };
    let mut file = ImageFile::open(path).map_err(image_error)?;
    if file.size() == 0 {
        return Err(CreateError::Empty { role, path: path.clone() });
    }
    let (size, first) = (file.size(), payload.index.frames.len());
    payload.begin_image();
    let mut whole = Sha256::new();
    parallel::ordered::<_, _, _, CreateError>(
        workers,
        || {
            let piece = file.next(input.frame_size).map_err(image_error)?;
            if let Some(piece) = &piece {
                match &piece.data {
                    Some(data) => whole.update(data),
                    None => hash_zeroes(&mut whole, piece.len),
                }
            }
            Ok(piece)
        },
        || Encoder::new(level),
        |encoder, piece| match encoder {
            Ok(encoder) => compress(encoder, piece),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        },
        |frame: io::Result<Frame>| {
            let frame = frame.map_err(|error| CreateError::Compress { level, error })?;
            let (Frame::Zero { len } | Frame::Stored { len, .. }) = frame;
            payload.add(frame)?;
            progress(u64::from(len));
            Ok(())
        },
    )?;
    payload.end_image()?;
    Ok(ImageInfo {
        role,
        size,
        frames: (payload.index.frames.len() - first) as u64,
        sha256: Blob(whole.finalize().into()),
        frame_size: input.frame_size,
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

fn compress(encoder: &mut Encoder, piece: Piece) -> io::Result<Frame> {
    let len = piece.len;
    let Some(data) = piece.data.filter(|data| !is_zero(data)) else { return Ok(Frame::Zero { len }) };
    let sha256: [u8; 32] = Sha256::digest(&data).into();
    let mut hints = Vec::new();
    for block in data.chunks(BLOCK_LEN as usize) {
        hints.extend_from_slice(&XxHash3_64::oneshot(block).to_le_bytes());
    }
    Ok(match encoder.compress(&data)? {
        Some(bytes) => {
            let stored_sha256 = Sha256::digest(&bytes).into();
            Frame::Stored { len, kind: FrameKind::Zstd, sha256, stored_sha256, bytes, hints }
        }
        None => {
            Frame::Stored { len, kind: FrameKind::Raw, sha256, stored_sha256: sha256, bytes: data, hints }
        }
    })
}

fn is_zero(data: &[u8]) -> bool {
    // Compares the bytes with themselves, one further: as fast as memcmp.
    data.first() == Some(&0) && data[1..] == data[..data.len() - 1]
}

/// The payload as it grows, and its index.
struct Payload<'a, W> {
    spool: &'a mut W,
    index: Index,
    hints: Vec<u8>,
    len: u64,
    /// Zeroes not yet written as a frame.
    zeroes: u64,
    /// Digests of zeroes by their length.
    zero_digests: HashMap<u32, [u8; 32]>,
    /// Frames of the present image with stored bytes, by their digest.
    known: HashMap<[u8; 32], usize>,
}

impl<'a, W: Write> Payload<'a, W> {
    fn new(spool: &'a mut W) -> Self {
        let (index, hints) = (Index::default(), Vec::new());
        Self { spool, index, hints, len: 0, zeroes: 0, zero_digests: HashMap::new(), known: HashMap::new() }
    }

    fn begin_image(&mut self) {
        self.known.clear();
    }

    fn end_image(&mut self) -> Result<(), CreateError> {
        self.flush_zeroes()
    }

    fn add(&mut self, frame: Frame) -> Result<(), CreateError> {
        match frame {
            Frame::Zero { len } => {
                self.zeroes += u64::from(len);
                Ok(())
            }
            Frame::Stored { len, kind, sha256, stored_sha256, bytes, hints } => {
                self.flush_zeroes()?;
                let number = self.index.frames.len();
                let earlier = self.known.get(&sha256).copied();
                if let Some(frame) = earlier.filter(|earlier| self.index.frames[*earlier].len == len) {
                    return self.push(FrameKind::Repeat { frame }, len, 0, sha256, [0; 32]);
                }
                self.known.insert(sha256, number);
                self.push(kind, len, bytes.len() as u32, sha256, stored_sha256)?;
                self.spool.write_all(&bytes)?;
                self.hints.extend_from_slice(&hints);
                Ok(())
            }
        }
    }

    /// Writes the zeroes as frames, as few as possible.
    fn flush_zeroes(&mut self) -> Result<(), CreateError> {
        while self.zeroes > 0 {
            let len = self.zeroes.min(u64::from(MAX_FRAME_LEN)) as u32;
            let digest = || zero_digests([len].into()).remove(&len).unwrap_or_default();
            let sha256 = *self.zero_digests.entry(len).or_insert_with(digest);
            self.push(FrameKind::Zero, len, 0, sha256, [0; 32])?;
            self.zeroes -= u64::from(len);
        }
        Ok(())
    }

    fn push(
        &mut self,
        kind: FrameKind,
        len: u32,
        stored_len: u32,
        sha256: [u8; 32],
        stored_sha256: [u8; 32],
    ) -> Result<(), CreateError> {
        if self.index.frames.len() as u64 == MAX_FRAMES {
            return Err(CreateError::Frames);
        }
        // Image and offset follow from the order when the index is read; they are not part of its encoding.
        let (image, offset, payload_offset) = (0, 0, self.len);
        self.len += u64::from(stored_len);
        let frame =
            FrameEntry { image, offset, len, kind, payload_offset, stored_len, sha256, stored_sha256 };
        self.index.frames.push(frame);
        Ok(())
    }
}
