//! Making a bundle: images in, one file out; the same bytes on every machine and with any number of
//! threads.

use crate::cbor::Blob;
use crate::encoder::Encoder;
use crate::hint;
use crate::image_file::ImageFile;
use crate::index::{BaseRange, ChunkEntry, ChunkKind, Index, zero_digests};
use crate::keys::SecretKey;
use crate::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_CHUNKS, MAX_MANIFEST_LEN};
use crate::manifest::{ImageInfo, ImageRole, IndexInfo, Manifest, ManifestError};
use crate::parallel;
use crate::recipe::{DEFAULT_CHUNK_SIZE, ImageInput, Recipe};
use crate::runs::{Runs, Stretch};
use crate::verity::{Hash, Layout, TreeBuilder, digest};
use seal::{ImageDigest, SEAL_LEN, Seal, SealError, Statement, Text64, VerifiedRoot};
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
    #[error("images need more than {MAX_CHUNKS} chunks: choose a larger chunk size")]
    Chunks,
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
    /// Number of chunks.
    pub chunks: usize,
    /// Bytes of all images together.
    pub images_len: u64,
}

/// Makes a bundle of what `recipe` names, signed with `keys`. *Reads* the images, once each;
/// *writes* the payload to `spool`, an empty file, and then the whole bundle to `out`: the head
/// comes first and is known last. `progress` is told bytes of images as they are done. Memory: four
/// runs of 512 KiB for each of `workers`, and about 250 bytes for each chunk.
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
    for (input, file, chunk_size) in images {
        let framing = Framing {
            chunk_size,
            window: input.window,
            level: recipe.level,
            is_verified: recipe.verity && input.role == ImageRole::Root,
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
        root: payload.verified_root.take(),
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
    pub(crate) root: Option<VerifiedRoot>,
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
        root: terms.root,
        bundle_len: 0,
    })
}

/// The images, opened, with their chunk sizes.
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
        .map(|(input, file)| (file.size(), input.chunk_size))
        .collect();
    let otherwise = chunk_size_for(&sizes);
    let images = images.into_iter();
    Ok(images
        .map(|(input, file)| (input, file, input.chunk_size.unwrap_or(otherwise)))
        .collect())
}

/// The chunk size of the images that ask for none: the smallest from the default on, doubled, with
/// which the images cannot have more chunks than a bundle may, whatever is in them. *Pure.*
/// `images`: the size of each, and the chunk size that it asks for.
fn chunk_size_for(images: &[(u64, Option<u32>)]) -> u32 {
    let chunks = |otherwise: u32| -> u64 {
        images
            .iter()
            .map(|(size, asked)| size.div_ceil(u64::from(asked.unwrap_or(otherwise))))
            .sum()
    };
    let mut size = DEFAULT_CHUNK_SIZE;
    while chunks(size) > MAX_CHUNKS && size < MAX_CHUNK_LEN {
        size *= 2;
    }
    size
}

/// How an image is cut and compressed.
#[derive(Clone, Copy)]
struct Framing {
    chunk_size: u32,
    window: u32,
    level: i32,
    /// Whether there is to be a root hash.
    is_verified: bool,
}

/// What a worker makes of a stretch.
enum Done {
    Zeroes(u32),
    Run(Vec<Chunk>),
}

/// A chunk with content.
pub(crate) struct Chunk {
    pub(crate) len: u32,
    /// How it is stored; that of a delta is completed when it is added.
    pub(crate) kind: ChunkKind,
    pub(crate) before: u32,
    pub(crate) sha256: [u8; 32],
    /// Hashes of its blocks.
    pub(crate) blocks: Vec<Hash>,
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
    let is_verified = framing.is_verified;
    let (role, path, level) = (input.role, &input.path, framing.level);
    let (size, first) = (file.size(), payload.index.chunks.len());
    payload.tree = is_verified.then(|| (0, TreeBuilder::new(Layout::new(size))));
    let mut runs = Runs::new(file, framing.chunk_size, framing.window > 0);
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
                    payload.add_zeroes(len);
                    progress(u64::from(len));
                }
                Done::Run(chunks) => {
                    progress(chunks.iter().map(|chunk| u64::from(chunk.len)).sum());
                    payload.add(chunks)?;
                }
            }
            Ok(())
        },
    )?;
    payload.flush_zeroes()?;
    payload.finish_tree();
    Ok(ImageInfo {
        role,
        size,
        chunks: (payload.index.chunks.len() - first) as u64,
        sha256: Blob(runs.digest()),
        chunk_size: framing.chunk_size,
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

fn compress(encoder: &mut Encoder, run: &[u8], framing: Framing) -> io::Result<Vec<Chunk>> {
    let (chunk_size, window) = (framing.chunk_size as usize, framing.window as usize);
    let compressed = encoder.compress_run(run, chunk_size, window)?;
    let chunks = run.chunks(chunk_size).zip(compressed).enumerate();
    Ok(chunks
        .map(|(number, (data, compressed))| {
            let mut blocks = Vec::new();
            let sha256 = digest::digest_into(data, &mut blocks);
            let kind = if compressed.is_some() {
                ChunkKind::Zstd
            } else {
                ChunkKind::Raw
            };
            let bytes = compressed.unwrap_or_else(|| data.to_vec());
            let before = window.min(number * chunk_size) as u32;
            let stored_digest = match kind {
                ChunkKind::Raw => seal::field::get(&sha256, 0),
                _ => stored_digest(&bytes),
            };
            let (len, hints) = (data.len() as u32, hint::encode(data));
            Chunk {
                len,
                kind,
                before,
                sha256,
                blocks,
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
    /// Zeroes not yet written as a chunk.
    pub(crate) zeroes: u64,
    /// Digests of zeroes by their length.
    zero_digests: HashMap<u32, [u8; 32]>,
    /// Chunks of the present image with stored bytes, by their digest.
    known: HashMap<[u8; 32], usize>,
    /// The hash tree of the present image, if it gets one, and the blocks that it has so far.
    tree: Option<(u64, TreeBuilder)>,
    /// What came of the tree.
    verified_root: Option<VerifiedRoot>,
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
            tree: None,
            verified_root: None,
        }
    }

    pub(crate) fn begin_image(&mut self) {
        self.known.clear();
    }

    /// Takes zeroes.
    fn add_zeroes(&mut self, len: u32) {
        self.zeroes += u64::from(len);
        if let Some((next, tree)) = &mut self.tree {
            let blocks = u64::from(len.div_ceil(BLOCK_LEN));
            // Nothing is shipped of the tree but its root hash.
            drop(tree.insert_zeroes(*next, blocks));
            *next += blocks;
        }
    }

    /// Closes the tree of an image.
    fn finish_tree(&mut self) {
        let Some((_, tree)) = self.tree.take() else {
            return;
        };
        let len = tree.layout().image_len();
        // All blocks were given, one after the other.
        let finished = tree.finish().ok();
        self.verified_root = finished.map(|(_, root_hash)| VerifiedRoot { len, root_hash });
    }

    /// Takes the chunks of a run.
    pub(crate) fn add(&mut self, run: Vec<Chunk>) -> Result<(), CreateError> {
        self.flush_zeroes()?;
        let alone = run.len() == 1;
        for chunk in run {
            if let Some((next, tree)) = &mut self.tree {
                drop(tree.insert(*next, &chunk.blocks));
                *next += chunk.blocks.len() as u64;
            }
            let number = self.index.chunks.len();
            let earlier = self.known.get(&chunk.sha256).copied();
            let earlier =
                earlier.filter(|earlier| alone && self.index.chunks[*earlier].len == chunk.len);
            if let Some(earlier) = earlier {
                self.push(
                    Stored::nothing(ChunkKind::Repeat { chunk: earlier }),
                    chunk.len,
                    chunk.sha256,
                )?;
                continue;
            }
            self.known.insert(chunk.sha256, number);
            let Chunk {
                len,
                kind,
                before,
                sha256,
                stored_digest: digest,
                bytes,
                hints,
                ranges,
                blocks: _,
            } = chunk;
            let first_range = self.index.ranges.len();
            let kind = match ranges.len() {
                0 => kind,
                ranges => ChunkKind::Delta {
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

    /// Writes the zeroes as chunks, as few as possible.
    pub(crate) fn flush_zeroes(&mut self) -> Result<(), CreateError> {
        while self.zeroes > 0 {
            let len = self.zeroes.min(u64::from(MAX_CHUNK_LEN)) as u32;
            let digest = || zero_digests([len].into()).remove(&len).unwrap_or_default();
            let sha256 = *self.zero_digests.entry(len).or_insert_with(digest);
            self.push(Stored::nothing(ChunkKind::Zero), len, sha256)?;
            self.zeroes -= u64::from(len);
        }
        Ok(())
    }

    fn push(&mut self, stored: Stored, len: u32, sha256: [u8; 32]) -> Result<(), CreateError> {
        if self.index.chunks.len() as u64 == MAX_CHUNKS {
            return Err(CreateError::Chunks);
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
        self.index.chunks.push(ChunkEntry {
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
                chunks: index.chunks.len() as u64,
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
            chunks: index.chunks.len(),
            images_len,
        })
    }
}

/// How a chunk is stored.
struct Stored {
    kind: ChunkKind,
    before: u32,
    len: u32,
    digest: [u8; 16],
}

impl Stored {
    /// A chunk for which nothing is stored.
    const fn nothing(kind: ChunkKind) -> Self {
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
    fn chunks_grow_with_the_images_and_never_are_too_many() {
        const GIB: u64 = 1 << 30;
        for (images, expected) in [
            (vec![(1, None)], 16),
            (vec![(4 * GIB, None)], 16),
            (vec![(4 * GIB + 1, None)], 32),
            // As many bytes as fit, but each image has a last chunk of its own.
            (vec![(1, None), (4 * GIB - 1, None)], 32),
            (vec![(8 * GIB, None)], 32),
            (vec![(100 << 20, None), (8 * GIB, None)], 64),
            (vec![(32 * GIB, None)], 128),
            (vec![(1 << 40, None)], 4096),
            // More than a bundle can hold: creating it says so once it is reached, since zeroes may
            // make it fit.
            (vec![(1 << 41, None)], 4096),
            // What an image asks for is left alone, and counts.
            (vec![(32 * GIB, Some(MAX_CHUNK_LEN)), (3 * GIB, None)], 16),
            (vec![(1 << 29, Some(4096)), (3 * GIB, None)], 32),
        ] {
            let size = chunk_size_for(&images);
            assert_eq!(size, expected << 10, "{images:?}");
        }
    }
}
