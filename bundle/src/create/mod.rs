//! Creating a bundle from images. The result is the same on every machine and with any number of
//! threads.
//!
//! | module | holds |
//! | --- | --- |
//! | `chunker` | splits an image into segments: zeroes and runs |
//! | `encoder` | compresses chunks and runs |
//! | `error` | [`CreateError`] |
//! | `image_file` | reads an image chunk by chunk |
//! | `new_image` | encodes an image on several threads |
//! | `payload` | payload and index as they grow |
//! | [`recipe`] | `bundle.toml` |

pub(crate) mod chunker;
pub(crate) mod encoder;
pub(crate) mod error;
pub(crate) mod image_file;
pub(crate) mod new_image;
pub(crate) mod payload;
pub mod recipe;

pub use error::CreateError;
pub use payload::{BundleOutput, Created};

use crate::format::hint;
use crate::format::index::ChunkKind;
use crate::format::limits::{MAX_CHUNK_LEN, MAX_CHUNKS};
use crate::format::manifest::{ImageRole, Manifest};
use crate::trust::keys::SecretKey;
use crate::verity::digest;
use chunker::Chunker;
use encoder::Encoder;
use image_file::ImageFile;
use new_image::{ImageEncoder, NewImage};
use payload::{EncodedChunk, Payload, ReleasePolicy, stored_digest};
use recipe::{DEFAULT_CHUNK_SIZE, ImageInput, Recipe};
use std::io::{self, Read, Seek, Write};

/// How to create a bundle.
#[derive(Clone, Copy, Debug)]
pub struct CreateOptions<'a> {
    /// Keys to sign with.
    pub keys: &'a [SecretKey],
    /// Number of threads; the result does not depend on it.
    pub workers: usize,
}

/// Creates a bundle as `recipe` describes it. *Reads* each image once, and *writes* the payload to
/// the spool and then the bundle to the output: its head comes first but is known last. `progress`
/// receives numbers of bytes of images.
///
/// Memory: four runs of 512 KiB for each worker, and about 250 bytes for each chunk.
///
/// # Errors
/// [`CreateError`]. The output then does not hold a bundle.
///
/// # Power loss
/// Leaves an incomplete bundle in the output, which every reader refuses.
pub fn create<S: Read + Write + Seek, W: Write>(
    recipe: &Recipe,
    options: CreateOptions<'_>,
    output: BundleOutput<'_, S, W>,
    progress: &mut dyn FnMut(u64),
) -> Result<Created, CreateError> {
    let mut payload = Payload::with_hints(output.spool);
    let mut images = Vec::new();
    for OpenImage {
        input,
        file,
        chunk_size,
    } in open_images(recipe)?
    {
        let encoder = RunEncoder {
            input,
            chunk_size,
            level: recipe.level,
        };
        let image = NewImage {
            role: input.role,
            chunker: Chunker::new(file, chunk_size, input.window > 0),
            has_tree: recipe.verity && input.role == ImageRole::Root,
        };
        images.push(payload.add_image(image, &encoder, options.workers, progress)?);
    }
    let policy = ReleasePolicy {
        links: recipe.links.clone(),
        key_epoch: recipe.key_epoch,
        revoke: recipe.revoke,
        watchdog: recipe.watchdog,
        root: payload.verified_root(),
    };
    let manifest = Manifest {
        images,
        ..recipe.manifest.clone()
    };
    payload.finish(manifest, policy, options.keys, output.out)
}

/// An image of a recipe, opened.
struct OpenImage<'a> {
    input: &'a ImageInput,
    file: ImageFile,
    chunk_size: u32,
}

/// Opens the images of a recipe, in the order of their roles, and chooses their chunk sizes.
fn open_images(recipe: &Recipe) -> Result<Vec<OpenImage<'_>>, CreateError> {
    let mut images = Vec::new();
    for input in &recipe.images {
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
        images.push(OpenImage {
            input,
            file,
            chunk_size: 0,
        });
    }
    images.sort_by_key(|image| image.input.role);
    let sizes: Vec<ImageSize> = images
        .iter()
        .map(|image| ImageSize {
            bytes: image.file.size(),
            chunk_size: image.input.chunk_size,
        })
        .collect();
    let default = default_chunk_size(&sizes);
    for image in &mut images {
        image.chunk_size = image.input.chunk_size.unwrap_or(default);
    }
    Ok(images)
}

/// Size of an image, and the chunk size that its recipe asks for.
#[derive(Debug)]
struct ImageSize {
    bytes: u64,
    chunk_size: Option<u32>,
}

/// Returns the chunk size of the images whose recipe asks for none. *Pure.* It is doubled from
/// [`DEFAULT_CHUNK_SIZE`] until the images have no more than [`MAX_CHUNKS`] chunks, even without
/// zeroes.
fn default_chunk_size(images: &[ImageSize]) -> u32 {
    let chunks = |default: u32| -> u64 {
        images
            .iter()
            .map(|image| {
                image
                    .bytes
                    .div_ceil(u64::from(image.chunk_size.unwrap_or(default)))
            })
            .sum()
    };
    let mut size = DEFAULT_CHUNK_SIZE;
    while chunks(size) > MAX_CHUNKS && size < MAX_CHUNK_LEN {
        size *= 2;
    }
    size
}

/// Compresses the runs of an image.
struct RunEncoder<'a> {
    input: &'a ImageInput,
    chunk_size: u32,
    level: i32,
}

impl ImageEncoder for RunEncoder<'_> {
    type Worker = Encoder;
    type Error = CreateError;

    fn worker(&self) -> io::Result<Encoder> {
        Encoder::new(self.level)
    }

    fn encode(&self, encoder: &mut Encoder, run: &[u8]) -> Result<Vec<EncodedChunk>, CreateError> {
        let chunk_size = self.chunk_size as usize;
        let window = self.input.window as usize;
        let compressed = encoder
            .compress_run(run, chunk_size, window)
            .map_err(|error| self.compress_error(error))?;
        let chunks = run.chunks(chunk_size).zip(compressed).enumerate();
        Ok(chunks
            .map(|(number, (data, compressed))| {
                let kind = match compressed {
                    Some(_) => ChunkKind::Zstd,
                    None => ChunkKind::Raw,
                };
                let stored = compressed.unwrap_or_else(|| data.to_vec());
                let mut blocks = Vec::new();
                let sha256 = digest::digest_into(data, &mut blocks);
                EncodedChunk {
                    len: data.len() as u32,
                    kind,
                    before: window.min(number * chunk_size) as u32,
                    sha256,
                    blocks,
                    stored_digest: stored_digest(kind, &stored, &sha256),
                    stored,
                    hints: hint::encode(data),
                    ranges: Vec::new(),
                }
            })
            .collect())
    }

    fn read_error(&self, error: io::Error) -> CreateError {
        CreateError::Image {
            role: self.input.role,
            path: self.input.path.clone(),
            error,
        }
    }

    fn compress_error(&self, error: io::Error) -> CreateError {
        CreateError::Compress {
            level: self.level,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_size_grows_with_the_images_and_keeps_the_number_of_chunks_in_bounds() {
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
            // More than a bundle can hold. `create` fails only if it needs too many chunks, because
            // zeroes may make the image fit.
            (vec![(1 << 41, None)], 4096),
            // A chunk size that the recipe asks for is kept, and counts.
            (vec![(32 * GIB, Some(MAX_CHUNK_LEN)), (3 * GIB, None)], 16),
            (vec![(1 << 29, Some(4096)), (3 * GIB, None)], 32),
        ] {
            let images: Vec<ImageSize> = images
                .into_iter()
                .map(|(bytes, chunk_size)| ImageSize { bytes, chunk_size })
                .collect();
            assert_eq!(default_chunk_size(&images), expected << 10, "{images:?}");
        }
    }
}
