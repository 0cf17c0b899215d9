//! Whether the medium has what was written.

use crate::error::{ApplyError, ReadBackError};
use crate::slot::hash::checksum;
use crate::slot::image_location::Reading;
use crate::slot::root_tree::RootTree;
use crate::slot::writer::Sinks;
use crate::worker_pool::{Stop, Workers};
use bootctl::device::{AlignedBuffer, BlockDevice, is_zero};
use bundle::{ChunkEntry, ChunkKind};
use seal::{ImageDigest, SEAL_LEN};
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// Neighbouring chunks of one image, with the checksums of their verified bytes.
pub(crate) struct Stretch {
    pub(crate) chunks: Range<usize>,
    pub(crate) sums: Vec<u64>,
}

/// Compares what is on the medium with what was verified before it was written, and tells which
/// chunks are the same. *Reads.*
///
/// A chunk is compared by its XXH3-64: that it had the signed SHA-256 was seen in memory, and what
/// a disk does to it does not aim at a hash.
pub(crate) async fn compare_all(
    sinks: &Arc<Sinks>,
    stretches: Vec<Stretch>,
    (jobs, stop): (usize, &Stop),
    same: impl FnMut(Range<usize>),
) -> Result<(), ApplyError> {
    let look = || {
        let (sinks, mut buffer) = (Arc::clone(sinks), AlignedBuffer::default());
        move |stretch| compare(&sinks, stretch, &mut buffer)
    };
    Workers::start(jobs, stop, look).all(stretches, same).await
}

/// Compares the hash tree of the root image with what was signed. *Reads.*
pub(crate) async fn check_tree(
    sinks: &Arc<Sinks>,
    (_, stop): (usize, &Stop),
) -> Result<(), ApplyError> {
    let look = || {
        let sinks = Arc::clone(sinks);
        move |()| sinks.places().tree().map_or(Ok(()), RootTree::read_back)
    };
    Workers::start(1, stop, look).all([()], |()| ()).await
}

/// Compares the images that the guard will ask for with what was signed. *Reads.*
pub(crate) async fn check_wholes(
    sinks: &Arc<Sinks>,
    (jobs, stop): (usize, &Stop),
) -> Result<(), ApplyError> {
    let look = || {
        let (sinks, mut buffer) = (Arc::clone(sinks), AlignedBuffer::default());
        move |header| check_whole(&sinks, header, &mut buffer)
    };
    Workers::start(jobs, stop, look)
        .all(0..sinks.headers().count(), |()| ())
        .await
}

fn compare(
    sinks: &Sinks,
    stretch: Stretch,
    buffer: &mut AlignedBuffer,
) -> Result<Range<usize>, ApplyError> {
    let Stretch { chunks, sums } = stretch;
    let entries = &sinks.release().chunks()[chunks.clone()];
    let len: u64 = entries.iter().map(|chunk| u64::from(chunk.len)).sum();
    let (Some(first), Some(place)) = (entries.first(), sinks.place(entries[0].image)) else {
        return Ok(chunks);
    };
    buffer.resize(len as usize);
    let is_read = place.read(Reading::Medium, first.offset, buffer).is_ok();
    for (sum, chunk) in sums.into_iter().zip(entries) {
        let at = (chunk.offset - first.offset) as usize;
        let bytes = &mut buffer[at..at + chunk.len as usize];
        let (partition, offset) = (place.name, place.offset(chunk.offset));
        if !is_read {
            // Which of them it is, is worth knowing.
            let error = |error| ReadBackError::Io {
                partition,
                offset,
                error,
            };
            place
                .read(Reading::Medium, chunk.offset, bytes)
                .map_err(error)?;
        }
        if !is_as_verified(chunk, sum, bytes) {
            return Err(ReadBackError::Differs { partition, offset }.into());
        }
    }
    Ok(chunks)
}

fn is_as_verified(chunk: &ChunkEntry, sum: u64, bytes: &[u8]) -> bool {
    if chunk.kind == ChunkKind::Zero {
        is_zero(bytes)
    } else {
        checksum(bytes) == sum
    }
}

/// The guard asks for the SHA-256 of the whole image behind a seal (0 boot, 1 recovery): make sure
/// that it will get what it asks for.
fn check_whole(sinks: &Sinks, header: usize, buffer: &mut AlignedBuffer) -> Result<(), ApplyError> {
    let statement = sinks.release().statement();
    let (image, name): (ImageDigest, _) = if header == 0 {
        (statement.boot, "boot")
    } else {
        (statement.recovery, "recovery")
    };
    let Some(window) = sinks.headers().nth(header) else {
        return Ok(());
    };
    let mut hasher = Sha256::new();
    let mut at = 0;
    while at < image.len {
        buffer.resize((image.len - at).min(PIECE as u64) as usize);
        let error = |error| ReadBackError::Io {
            partition: name,
            offset: at,
            error,
        };
        window
            .read_once_at(SEAL_LEN as u64 + at, buffer)
            .map_err(error)?;
        hasher.update(&**buffer);
        at += buffer.len() as u64;
    }
    if hasher.finalize()[..] == image.sha256 {
        Ok(())
    } else {
        Err(ApplyError::Whole(name))
    }
}
