//! What differs: between two releases, and between a release and a device.

use crate::format::index::{ChunkEntry, ChunkKind};
use crate::format::manifest::ImageRole;
use crate::parallel;
use crate::read::release::{Image, Release};
use crate::verity::digest;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How the chunks of an image relate to an older release; in bytes of the image, and as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageDiff {
    /// The image.
    pub role: ImageRole,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes in zero chunks.
    pub zero: u64,
    /// Bytes in chunks that the older release has at the same place.
    pub same: u64,
    /// Bytes in chunks that the older release has elsewhere in the same image.
    pub moved: u64,
    /// Bytes in chunks that it does not have.
    pub new: u64,
    /// Stored bytes of the chunks that it does not have: what would be fetched by chunks alone.
    pub new_stored: u64,
}

/// Compares the images of `new` with those of `old`, by the digests in their indexes. *Pure.*
#[must_use]
pub fn releases(old: &Release, new: &Release) -> Vec<ImageDiff> {
    new.images()
        .iter()
        .map(|image| image_diff(old, new, image))
        .collect()
}

fn chunks<'a>(release: &'a Release, image: &Image) -> &'a [ChunkEntry] {
    release
        .chunks()
        .get(image.chunks.clone())
        .unwrap_or_default()
}

fn image_diff(old: &Release, new: &Release, image: &Image) -> ImageDiff {
    let olds = old
        .image(image.role)
        .map(|image| chunks(old, image))
        .unwrap_or_default();
    let placed: HashSet<(u64, [u8; 32])> = olds
        .iter()
        .map(|chunk| (chunk.offset, chunk.sha256))
        .collect();
    let known: HashSet<[u8; 32]> = olds.iter().map(|chunk| chunk.sha256).collect();
    let mut diff = ImageDiff {
        role: image.role,
        size: image.size,
        zero: 0,
        same: 0,
        moved: 0,
        new: 0,
        new_stored: 0,
    };
    for chunk in chunks(new, image) {
        let len = u64::from(chunk.len);
        if chunk.kind == ChunkKind::Zero {
            diff.zero += len;
        } else if placed.contains(&(chunk.offset, chunk.sha256)) {
            diff.same += len;
        } else if known.contains(&chunk.sha256) {
            diff.moved += len;
        } else {
            diff.new += len;
            diff.new_stored += u64::from(chunk.stored_len);
        }
    }
    diff
}

/// The numbers of the chunks of `image` that differ on a device, whose bytes from `start` on are
/// compared. *Reads* the length of the image, on `workers` threads. A device that ends too early
/// differs from there on.
///
/// # Errors
/// What reading gives.
pub fn device(
    release: &Release,
    image: &Image,
    device: &File,
    start: u64,
    workers: usize,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Vec<usize>> {
    let mut numbers = image.chunks.clone();
    let mut differing = Vec::new();
    parallel::ordered(
        workers,
        || Ok(numbers.next()),
        Vec::new,
        |buffer: &mut Vec<u8>, number| -> io::Result<(usize, u32, bool)> {
            let Some(entry) = release.chunk(number) else {
                return Ok((number, 0, true));
            };
            buffer.resize(entry.len as usize, 0);
            match device.read_exact_at(buffer, start.saturating_add(entry.offset)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok((number, entry.len, false));
                }
                Err(error) => return Err(error),
            }
            let found = digest::digest(buffer);
            Ok((number, entry.len, found == entry.sha256))
        },
        |result| {
            let (number, len, same) = result?;
            if !same {
                differing.push(number);
            }
            progress(u64::from(len));
            Ok::<(), io::Error>(())
        },
    )?;
    Ok(differing)
}
