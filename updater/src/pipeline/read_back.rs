//! Comparing the medium with what was written.

use crate::error::{ApplyError, ReadBackError};
use crate::slot::hash::{checksum, image_digest};
use crate::slot::image_location::{ImageLocation, ReadFrom};
use crate::slot::root_tree::RootTree;
use crate::slot::writer::SlotWriter;
use crate::worker_pool::{WorkerPool, join};
use bootctl::device::{AlignedBuffer, is_zero};
use bundle::{ChunkEntry, ChunkKind};
use seal::ImageDigest;
use std::ops::Range;
use std::sync::Arc;

/// Neighbouring chunks of one image, with the checksums of their verified bytes.
pub(crate) struct ChunkChecksums {
    pub(crate) chunks: Range<usize>,
    pub(crate) checksums: Vec<u64>,
}

/// Compares chunks on the medium with their checksums, and calls `on_equal` with the chunks that
/// are equal. *Reads.*
///
/// A checksum is XXH3-64 of bytes that had the signed SHA-256 in memory: damage by a disk does not
/// aim at a hash.
///
/// # Errors
/// [`ApplyError::ReadBack`], [`ApplyError::Stopped`].
pub(crate) async fn compare_chunks(
    writer: &Arc<SlotWriter>,
    groups: Vec<ChunkChecksums>,
    pool: &WorkerPool,
    on_equal: impl FnMut(Range<usize>),
) -> Result<(), ApplyError> {
    let make_worker = || {
        let writer = Arc::clone(writer);
        let mut buffer = AlignedBuffer::default();
        move |group| compare_group(&writer, group, &mut buffer)
    };
    pool.run_all(groups, make_worker, on_equal).await
}

/// Compares the hash tree of the root image with its signed root hash. *Reads.*
///
/// # Errors
/// [`ApplyError::ReadBack`].
pub(crate) async fn compare_tree(writer: &Arc<SlotWriter>) -> Result<(), ApplyError> {
    let writer = Arc::clone(writer);
    let compare = move || writer.tree().map_or(Ok(()), RootTree::read_back);
    join(tokio::task::spawn_blocking(compare)).await
}

/// Compares the images that the guard verifies with their signed digests. *Reads.*
///
/// # Errors
/// [`ApplyError::ImageDigest`], [`ApplyError::ReadBack`], [`ApplyError::Stopped`].
pub(crate) async fn compare_guarded_images(
    writer: &SlotWriter,
    pool: &WorkerPool,
) -> Result<(), ApplyError> {
    let make_worker = || |(location, digest)| compare_image(&location, digest);
    let images = writer.guarded_images();
    pool.run_all(images, make_worker, |()| ()).await
}

fn compare_group(
    writer: &SlotWriter,
    group: ChunkChecksums,
    buffer: &mut AlignedBuffer,
) -> Result<Range<usize>, ApplyError> {
    let ChunkChecksums { chunks, checksums } = group;
    let entries = &writer.release().chunks()[chunks.clone()];
    let (Some(first), Some(location)) = (entries.first(), writer.location(entries[0].image)) else {
        return Ok(chunks);
    };
    buffer.resize(entries.iter().map(|chunk| chunk.len as usize).sum());
    let is_read = location
        .read(ReadFrom::Medium, first.offset, buffer)
        .is_ok();
    for (checksum, chunk) in checksums.into_iter().zip(entries) {
        let at = (chunk.offset - first.offset) as usize;
        let bytes = &mut buffer[at..at + chunk.len as usize];
        let partition = location.partition;
        let offset = location.offset(chunk.offset);
        if !is_read {
            // The error should name the first chunk that cannot be read.
            location
                .read(ReadFrom::Medium, chunk.offset, bytes)
                .map_err(|error| ReadBackError::Io {
                    partition,
                    offset,
                    error,
                })?;
        }
        if !is_equal(chunk, checksum, bytes) {
            return Err(ReadBackError::Differs { partition, offset }.into());
        }
    }
    Ok(chunks)
}

fn is_equal(chunk: &ChunkEntry, expected: u64, bytes: &[u8]) -> bool {
    if chunk.kind == ChunkKind::Zero {
        is_zero(bytes)
    } else {
        checksum(bytes) == expected
    }
}

fn compare_image(location: &ImageLocation, image: ImageDigest) -> Result<(), ApplyError> {
    let digest = image_digest(location, image.len, ReadFrom::Anywhere).map_err(|error| {
        ReadBackError::Io {
            partition: location.partition,
            offset: location.offset(error.offset),
            error: error.source,
        }
    })?;
    if digest == image.sha256 {
        Ok(())
    } else {
        Err(ApplyError::ImageDigest(location.partition.as_str()))
    }
}
