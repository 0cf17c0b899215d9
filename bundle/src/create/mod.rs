//! Making a bundle: images in, one file out; the same bytes on every machine and with any number of
//! threads.
//!
//! | module | holds |
//! | --- | --- |
//! | [`chunker`] | an image cut into zeroes and runs |
//! | [`encoder`] | compression of chunks and runs |
//! | [`error`] | [`CreateError`] |
//! | [`image_file`] | an image read chunk by chunk |
//! | [`payload`] | payload and index as they grow |
//! | [`recipe`] | `bundle.toml` |

pub(crate) mod chunker;
pub(crate) mod encoder;
pub(crate) mod error;
pub(crate) mod image_file;
pub(crate) mod payload;
pub mod recipe;

pub use error::CreateError;
pub use payload::Created;

use crate::format::cbor::Blob;
use crate::format::hint;
use crate::format::index::ChunkKind;
use crate::format::limits::{MAX_CHUNK_LEN, MAX_CHUNKS};
use crate::format::manifest::{ImageInfo, ImageRole, Manifest};
use crate::parallel;
use crate::trust::keys::SecretKey;
use crate::verity::digest;
use chunker::{Runs, Stretch};
use encoder::Encoder;
use image_file::ImageFile;
use payload::{Chunk, Payload, Terms, stored_digest};
use recipe::{DEFAULT_CHUNK_SIZE, ImageInput, Recipe};
use std::io::{self, Read, Seek, Write};

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

fn add_image<W: Write>(
    input: &ImageInput,
    file: ImageFile,
    framing: Framing,
    workers: usize,
    payload: &mut Payload<'_, W>,
    progress: &mut dyn FnMut(u64),
) -> Result<ImageInfo, CreateError> {
    let (role, path, level) = (input.role, &input.path, framing.level);
    let (size, first) = (file.size(), payload.index.chunks.len());
    let mut runs = Runs::new(file, framing.chunk_size, framing.window > 0);
    payload.begin_image(framing.is_verified.then_some(size));
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
            let (len, hints) = (data.len() as u32, hint::encode(data));
            let stored_digest = stored_digest(kind, &bytes, &sha256);
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
