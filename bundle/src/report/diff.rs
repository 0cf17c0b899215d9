//! Differences between two releases, and between a release and a device.

use crate::format::index::{ChunkEntry, ChunkKind};
use crate::format::manifest::ImageRole;
use crate::parallel;
use crate::read::release::{Image, Release};
use crate::verity::digest;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much of an image is new against an older release, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageDiff {
    /// The image.
    pub role: ImageRole,
    /// Size of the image.
    pub size: u64,
    /// Bytes in zero chunks.
    pub zero: u64,
    /// Bytes in chunks that the older release has at the same offset.
    pub same: u64,
    /// Bytes in chunks that the older release has elsewhere in the same image.
    pub moved: u64,
    /// Bytes in chunks that the older release does not have.
    pub new: u64,
    /// Stored bytes of the chunks that the older release does not have.
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

/// An image on a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceImage<'a> {
    /// The device or file.
    pub file: &'a File,
    /// Offset of the image on the device, in bytes.
    pub offset: u64,
}

/// Result of comparing one chunk.
struct ComparedChunk {
    number: usize,
    len: u32,
    same: bool,
}

/// Returns the numbers of the chunks of `image` that differ on a device. *Reads* the length of the
/// image, on `workers` threads. Chunks after the end of the device differ. `progress` receives
/// numbers of bytes of the image.
///
/// # Errors
/// Errors of reading the device.
pub fn device(
    release: &Release,
    image: &Image,
    device: DeviceImage<'_>,
    workers: usize,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Vec<usize>> {
    let mut numbers = image.chunks.clone();
    let mut differing = Vec::new();
    parallel::ordered(
        workers,
        || Ok(numbers.next()),
        Vec::new,
        |buffer, number| compare_chunk(release, number, device, buffer),
        |chunk: io::Result<ComparedChunk>| {
            let chunk = chunk?;
            if !chunk.same {
                differing.push(chunk.number);
            }
            progress(u64::from(chunk.len));
            Ok::<(), io::Error>(())
        },
    )?;
    Ok(differing)
}

fn compare_chunk(
    release: &Release,
    number: usize,
    device: DeviceImage<'_>,
    buffer: &mut Vec<u8>,
) -> io::Result<ComparedChunk> {
    let Some(entry) = release.chunk(number) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let compared = |same| ComparedChunk {
        number,
        len: entry.len,
        same,
    };
    buffer.resize(entry.len as usize, 0);
    let offset = device.offset.saturating_add(entry.offset);
    match device.file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(compared(digest::digest(buffer) == entry.sha256)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(compared(false)),
        Err(error) => Err(error),
    }
}
