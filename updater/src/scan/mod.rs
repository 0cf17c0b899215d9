//! The scan: which chunks are in place, which can be put together from the other slot, and which
//! are fetched.
//!
//! [`seeds`] has the blocks of the other slot.

pub(crate) mod seeds;

use crate::batch::hints::Hints;
use crate::batch::{self, BATCH_LEN, Batch, Origin, neighbours, total_len};
use crate::error::ApplyError;
use crate::events::Amounts;
use crate::progress::Progress;
use crate::slot::hash::{checksum, matches_digest};
use crate::slot::image_location::{ImageLocation, ReadFrom};
use crate::slot::release_locations::ImageLocations;
use crate::worker_pool::WorkerPool;
use bootctl::device::{AlignedBuffer, is_zero};
use bundle::limits::BLOCK_LEN;
use bundle::{ChunkEntry, ChunkKind, Release, block_hint};
use seeds::{Composition, Seeds};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Bytes at the beginning of an image that are always read: an interrupted apply began there.
const SAMPLED_START: u64 = 8 << 20;
/// Distance of the chunks that are read as a sample of the rest. In a slot of which 1 % is in
/// place, but not at its beginning, the sample of 1 GiB misses that once in thirteen times; then it
/// is fetched again.
const SAMPLE_DISTANCE: u64 = 4 << 20;

/// The origins of all chunks of a release.
#[derive(Default)]
pub(crate) struct Scan {
    /// The origin of each chunk.
    pub(crate) origins: Vec<Origin>,
    /// For each chunk in place the checksum of its bytes, taken when they had the signed digest. It
    /// shows whether the device still returns them.
    pub(crate) checksums: Vec<u64>,
    /// The blocks that composed chunks are put together from.
    pub(crate) composition: Arc<Composition>,
}

/// The parameters of reading what is in place.
#[derive(Clone)]
pub(crate) struct InPlaceScan {
    pub(crate) locations: Arc<ImageLocations>,
    pub(crate) read_from: ReadFrom,
    /// The block hints, which save hashing where they do not match.
    pub(crate) hints: Option<Arc<Hints>>,
    pub(crate) pool: WorkerPool,
}

impl InPlaceScan {
    /// Reads the locations of the chunks that are `wanted`. *Reads.*
    ///
    /// Unless it reads from the medium, it begins with a sample of the chunks that are not zero. It
    /// reads the other chunks of an image only if one of the sample is in place, because a slot
    /// that is empty or holds something else is not worth it.
    ///
    /// # Errors
    /// [`ApplyError::Stopped`]. A location that cannot be read does not hold its chunk.
    pub(crate) async fn run(
        &self,
        wanted: impl Fn(usize) -> bool,
        progress: &mut Progress<'_>,
    ) -> Result<Scan, ApplyError> {
        let release = self.locations.release();
        let chunks = release.chunks();
        let mut scan = Scan::nothing_in_place(release, &wanted);
        let is_first = |chunk: usize| {
            wanted(chunk) && (self.read_from == ReadFrom::Medium || is_sampled(&chunks[chunk]))
        };
        let sample = neighbours(release, is_first);
        self.compare(&mut scan, sample, progress).await?;
        // Each image by itself: a boot image in place says nothing about the root image.
        let found = scan.images_in_place(chunks);
        let is_rest = |chunk: usize| wanted(chunk) && !is_first(chunk);
        let is_worth_it = |chunk: usize| found.contains(&chunks[chunk].image);
        let skipped = (0..chunks.len()).filter(|chunk| is_rest(*chunk) && !is_worth_it(*chunk));
        progress.add(total_len(release, skipped));
        let rest = neighbours(release, |chunk| is_rest(chunk) && is_worth_it(chunk));
        self.compare(&mut scan, rest, progress).await?;
        Ok(scan)
    }

    /// Compares groups of neighbouring chunks with the disk, and marks those in place in `scan`.
    async fn compare(
        &self,
        scan: &mut Scan,
        groups: Vec<Range<usize>>,
        progress: &mut Progress<'_>,
    ) -> Result<(), ApplyError> {
        let release = self.locations.release();
        let make_worker = || {
            let settings = self.clone();
            let mut buffer = AlignedBuffer::default();
            move |chunks: Range<usize>| {
                let found = settings.find_in_place(chunks.clone(), &mut buffer);
                Ok((chunks, found))
            }
        };
        let on_result = |(chunks, found): (Range<usize>, Vec<ChunkInPlace>)| {
            progress.add(total_len(release, chunks));
            for ChunkInPlace { chunk, checksum } in found {
                scan.origins[chunk] = Origin::InPlace;
                scan.checksums[chunk] = checksum;
            }
        };
        self.pool.run_all(groups, make_worker, on_result).await
    }

    /// Returns those of neighbouring chunks that are in place.
    fn find_in_place(&self, chunks: Range<usize>, buffer: &mut AlignedBuffer) -> Vec<ChunkInPlace> {
        let release = self.locations.release();
        let entries = &release.chunks()[chunks.clone()];
        let (Some(first), Some(location)) = (entries.first(), self.locations.get(entries[0].image))
        else {
            return Vec::new();
        };
        let are_zero = entries.iter().all(|chunk| chunk.kind == ChunkKind::Zero);
        if are_zero
            && self.read_from != ReadFrom::Medium
            && !begins_with_zeroes(location, first, buffer)
        {
            return Vec::new();
        }
        buffer.resize(entries.iter().map(|chunk| chunk.len as usize).sum());
        let is_read = location.read(self.read_from, first.offset, buffer).is_ok();
        let (mut found, mut blocks) = (Vec::new(), Vec::new());
        for (number, chunk) in chunks.zip(entries) {
            let at = (chunk.offset - first.offset) as usize;
            let bytes = &mut buffer[at..at + chunk.len as usize];
            // A bad sector must not hide its neighbours.
            if !is_read && location.read(self.read_from, chunk.offset, bytes).is_err() {
                continue;
            }
            if self.is_worth_hashing(number, bytes) && matches_digest(chunk, bytes, &mut blocks) {
                if let Some(tree) = self.locations.tree() {
                    tree.add(chunk, &blocks);
                }
                found.push(ChunkInPlace {
                    chunk: number,
                    checksum: checksum(bytes),
                });
            }
        }
        found
    }

    fn is_worth_hashing(&self, number: usize, bytes: &[u8]) -> bool {
        let release = self.locations.release();
        if release.chunks()[number].kind == ChunkKind::Zero {
            return true;
        }
        match &self.hints {
            Some(hints) => {
                let first = &bytes[..bytes.len().min(BLOCK_LEN as usize)];
                hints.of(release, number).first() == Some(&block_hint(first))
                    && hints.match_all(release, number, bytes)
            }
            // A chunk of another kind may be zero, but then it is merely written again.
            None => !is_zero(bytes),
        }
    }
}

/// A chunk that is in place.
struct ChunkInPlace {
    chunk: usize,
    checksum: u64,
}

impl Scan {
    fn nothing_in_place(release: &Release, wanted: impl Fn(usize) -> bool) -> Self {
        let origin = |(number, chunk): (usize, &ChunkEntry)| {
            if wanted(number) {
                missing_origin(chunk)
            } else {
                Origin::Unwanted
            }
        };
        let origins: Vec<Origin> = release.chunks().iter().enumerate().map(origin).collect();
        Self {
            checksums: vec![0; origins.len()],
            origins,
            composition: Arc::default(),
        }
    }

    /// Returns the images with at least one chunk in place that is not zero.
    fn images_in_place(&self, chunks: &[ChunkEntry]) -> BTreeSet<usize> {
        let chunks = self.origins.iter().zip(chunks);
        chunks
            .filter(|(origin, chunk)| **origin == Origin::InPlace && chunk.kind != ChunkKind::Zero)
            .map(|(_, chunk)| chunk.image)
            .collect()
    }

    /// Looks in the other slot for the blocks of chunks that would be fetched. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Stopped`].
    pub(crate) async fn find_seeds(
        &mut self,
        seeds: Seeds,
        hints: &Hints,
        release: &Release,
        pool: &WorkerPool,
    ) -> Result<(), ApplyError> {
        let composition = seeds
            .compose_missing(hints, release, &mut self.origins, pool)
            .await?;
        self.composition = Arc::new(composition);
        Ok(())
    }

    /// Returns the amounts of each origin, except the bytes to fetch. *Pure.*
    pub(crate) fn amounts(&self, release: &Release) -> Amounts {
        let mut amounts = Amounts::default();
        for (origin, chunk) in self.origins.iter().zip(release.chunks()) {
            let amount = match origin {
                Origin::Unwanted => continue,
                Origin::InPlace => &mut amounts.in_place_bytes,
                Origin::Composed(_) => &mut amounts.composed_bytes,
                Origin::Zero | Origin::Repeat(_) => &mut amounts.filled_bytes,
                Origin::Stored | Origin::FailedDelta => &mut amounts.decoded_bytes,
            };
            *amount += u64::from(chunk.len);
            amounts.image_bytes += u64::from(chunk.len);
        }
        amounts
    }

    /// Returns the ranges of the bundle file to fetch, in rising order. *Pure.*
    pub(crate) fn stored_ranges(&self, release: &Release) -> Vec<Range<u64>> {
        let batches = batch::batches(release, &self.origins, BATCH_LEN);
        batch::stored_ranges(release, batches.iter().flat_map(Batch::stored_chunks))
    }

    /// Returns the number of bytes to write. *Pure.*
    pub(crate) fn missing_bytes(&self, release: &Release) -> u64 {
        let is_missing =
            |chunk: &usize| !matches!(self.origins[*chunk], Origin::Unwanted | Origin::InPlace);
        total_len(release, (0..self.origins.len()).filter(is_missing))
    }
}

/// Returns whether a chunk belongs to the sample: at the beginning of an image, where an
/// interrupted apply began; at regular distances; and zeroes, which are found quickly and may be
/// slow to write.
const fn is_sampled(chunk: &ChunkEntry) -> bool {
    let last = chunk
        .offset
        .saturating_add(chunk.len as u64)
        .saturating_sub(1);
    matches!(chunk.kind, ChunkKind::Zero)
        || chunk.offset < SAMPLED_START
        || chunk.offset.is_multiple_of(SAMPLE_DISTANCE)
        || chunk.offset / SAMPLE_DISTANCE != last / SAMPLE_DISTANCE
}

/// Returns the origin of a chunk that is not in place.
const fn missing_origin(chunk: &ChunkEntry) -> Origin {
    match chunk.kind {
        ChunkKind::Zero => Origin::Zero,
        ChunkKind::Repeat { chunk } => Origin::Repeat(chunk),
        ChunkKind::Raw | ChunkKind::Zstd | ChunkKind::Delta { .. } => Origin::Stored,
    }
}

/// Returns whether the first block of a group of zero chunks is zero. If it is not, the slot holds
/// something else, and the rest is not worth reading.
fn begins_with_zeroes(
    location: &ImageLocation,
    first: &ChunkEntry,
    buffer: &mut AlignedBuffer,
) -> bool {
    buffer.resize(first.len.min(BLOCK_LEN) as usize);
    let read = location.read(ReadFrom::Anywhere, first.offset, buffer);
    read.is_ok() && is_zero(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_place_says_nothing_about_another_one() {
        let chunk = |image, kind| ChunkEntry {
            image,
            offset: 0,
            len: BLOCK_LEN,
            kind,
            before: 0,
            payload_offset: 0,
            stored_len: 0,
            sha256: [0; 32],
            stored_digest: [0; 16],
        };
        let chunks = [
            chunk(0, ChunkKind::Raw),
            chunk(1, ChunkKind::Raw),
            chunk(1, ChunkKind::Zero),
            chunk(2, ChunkKind::Zstd),
            chunk(2, ChunkKind::Zstd),
        ];
        // Zeroes are everywhere, so they say nothing, either.
        let origins = vec![
            Origin::InPlace,
            Origin::Stored,
            Origin::InPlace,
            Origin::Stored,
            Origin::InPlace,
        ];
        let scan = Scan {
            origins,
            ..Scan::default()
        };
        assert_eq!(scan.images_in_place(&chunks), BTreeSet::from([0, 2]));
    }
}
