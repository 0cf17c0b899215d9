//! What has to be done to each chunk: what lies in its place already, what can be put together,
//! what must be fetched.

pub(crate) mod seeds;

use crate::batch::hints::Hints;
use crate::batch::{self, BATCH_LEN, Origin, stretches};
use crate::error::ApplyError;
use crate::events::Amounts;
use crate::progress::Progress;
use crate::slot::hash::{checksum, matches_digest};
use crate::slot::image_location::{Place, Places, Reading};
use crate::worker_pool::{Stop, Workers};
use bootctl::device::{AlignedBuffer, is_zero};
use bundle::limits::BLOCK_LEN;
use bundle::{ChunkEntry, ChunkKind, Release, block_hint};
use seeds::{Composition, Seeds};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Bytes at the beginning of an image that are always looked at: whatever an apply wrote, it began
/// there.
const SAMPLED_FIRST: u64 = 8 << 20;
/// Behind them one chunk is looked at in each stretch of this many bytes. In a slot of which one
/// part in a hundred is right, and not at its beginning, a sample of a GiB misses that once in
/// thirteen times, and it is fetched anew.
const SAMPLED_EACH: u64 = 4 << 20;

/// What was found out.
#[derive(Default)]
pub(crate) struct Survey {
    /// For each chunk where its bytes come from.
    pub(crate) origins: Vec<Origin>,
    /// For each chunk that lay in its place a checksum of its bytes, taken when they had the
    /// SHA-256 that was signed; it tells whether a device still has them.
    pub(crate) sums: Vec<u64>,
    /// Where the blocks of composed chunks lie.
    pub(crate) composition: Arc<Composition>,
}

impl Survey {
    /// Looks at what lies in `places`, of the chunks that are `wanted`. *Reads.* Unless it is to be
    /// read from the medium, a sample of what is not zero is looked at first, and the rest only if
    /// anything of that is there: a slot that holds nothing, or something quite different, is not
    /// read in vain.
    pub(crate) async fn in_place(
        (places, reading): (&Arc<Places>, Reading),
        wanted: impl Fn(usize) -> bool,
        hints: Option<&Arc<Hints>>,
        workers: (usize, &Stop),
        progress: &mut Progress<'_>,
    ) -> Result<Self, ApplyError> {
        let release = places.release();
        let chunks = release.chunks();
        let missing = |chunk| {
            if wanted(chunk) {
                missing(&chunks[chunk])
            } else {
                Origin::Unwanted
            }
        };
        let origins: Vec<Origin> = (0..chunks.len()).map(missing).collect();
        let sums = vec![0; origins.len()];
        let mut survey = Self {
            origins,
            sums,
            composition: Arc::default(),
        };
        let first =
            |chunk| wanted(chunk) && (reading == Reading::Medium || is_sampled(&chunks[chunk]));
        survey
            .look(
                (places, reading),
                hints,
                stretches(release, first),
                workers,
                progress,
            )
            .await?;
        // Image by image: that the boot image is the same as ever tells nothing of the root image.
        let held = survey.images_held(chunks);
        let rest = |chunk: usize| wanted(chunk) && !first(chunk);
        let worth_it = |chunk: usize| held.contains(&chunks[chunk].image);
        let left = (0..chunks.len()).filter(|chunk| rest(*chunk) && !worth_it(*chunk));
        progress.add(left.map(|chunk| u64::from(chunks[chunk].len)).sum());
        let rest = stretches(release, |chunk| rest(chunk) && worth_it(chunk));
        survey
            .look((places, reading), hints, rest, workers, progress)
            .await?;
        Ok(survey)
    }

    /// The images of which something that is not zero lies in its place.
    fn images_held(&self, chunks: &[ChunkEntry]) -> BTreeSet<usize> {
        let found = |(origin, chunk): &(&Origin, &ChunkEntry)| {
            **origin == Origin::Held && chunk.kind != ChunkKind::Zero
        };
        self.origins
            .iter()
            .zip(chunks)
            .filter(found)
            .map(|(_, chunk)| chunk.image)
            .collect()
    }

    /// Looks at what lies in the places of neighbouring chunks.
    async fn look(
        &mut self,
        (places, reading): (&Arc<Places>, Reading),
        hints: Option<&Arc<Hints>>,
        stretches: Vec<Range<usize>>,
        (jobs, stop): (usize, &Stop),
        progress: &mut Progress<'_>,
    ) -> Result<(), ApplyError> {
        let release = places.release();
        let look = || {
            let (places, hints) = (Arc::clone(places), hints.cloned());
            let mut buffer = AlignedBuffer::default();
            move |chunks: Range<usize>| {
                let held = look_at(
                    (&places, reading),
                    hints.as_deref(),
                    chunks.clone(),
                    &mut buffer,
                );
                Ok((chunks, held))
            }
        };
        let told = |(chunks, held): (Range<usize>, Vec<(usize, u64)>)| {
            progress.add(
                chunks
                    .map(|chunk| u64::from(release.chunks()[chunk].len))
                    .sum(),
            );
            for (chunk, sum) in held {
                self.origins[chunk] = Origin::Held;
                self.sums[chunk] = sum;
            }
        };
        Workers::start(jobs, stop, look).all(stretches, told).await
    }

    /// Looks in the other slot for what would have to be fetched. *Reads.*
    pub(crate) async fn find_seeds(
        &mut self,
        seeds: Seeds,
        hints: &Hints,
        release: &Release,
        workers: (usize, &Stop),
    ) -> Result<(), ApplyError> {
        let found = seeds::find(seeds, hints, release, &mut self.origins, workers).await?;
        self.composition = Arc::new(found);
        Ok(())
    }

    /// What it comes to, but for what has to be fetched. *Pure.*
    pub(crate) fn amounts(&self, release: &Release) -> Amounts {
        let mut amounts = Amounts::default();
        for (origin, chunk) in self.origins.iter().zip(release.chunks()) {
            let part = match origin {
                Origin::Unwanted => continue,
                Origin::Held => &mut amounts.in_place_bytes,
                Origin::Composed(_) => &mut amounts.composed_bytes,
                Origin::Zero | Origin::Repeat(_) => &mut amounts.filled_bytes,
                Origin::Stored | Origin::Lost => &mut amounts.decoded_bytes,
            };
            *part += u64::from(chunk.len);
            amounts.image_bytes += u64::from(chunk.len);
        }
        amounts
    }

    /// Ranges of the bundle that have to be fetched, in rising order. *Pure.*
    pub(crate) fn stored(&self, release: &Release) -> Vec<Range<u64>> {
        let batches = batch::batches(release, &self.origins, BATCH_LEN);
        batch::joined(release, batches.iter().flat_map(batch::stored))
    }

    /// Bytes that have to be written. *Pure.*
    pub(crate) fn missing_bytes(&self, release: &Release) -> u64 {
        let missing = |origin: &Origin| !matches!(origin, Origin::Unwanted | Origin::Held);
        let chunks = self
            .origins
            .iter()
            .zip(release.chunks())
            .filter(|(origin, _)| missing(origin));
        chunks.map(|(_, chunk)| u64::from(chunk.len)).sum()
    }
}

/// Whether a chunk is looked at in any case: where an apply that was cut off would have begun, at
/// places that are spread evenly, and where zeroes should be, since they are found quickly and may
/// be slow to write.
const fn is_sampled(chunk: &ChunkEntry) -> bool {
    let reaches = chunk
        .offset
        .saturating_add(chunk.len as u64)
        .saturating_sub(1);
    matches!(chunk.kind, ChunkKind::Zero)
        || chunk.offset < SAMPLED_FIRST
        || chunk.offset.is_multiple_of(SAMPLED_EACH)
        || chunk.offset / SAMPLED_EACH != reaches / SAMPLED_EACH
}

/// The origin of a chunk that is not in its place.
const fn missing(chunk: &ChunkEntry) -> Origin {
    match chunk.kind {
        ChunkKind::Zero => Origin::Zero,
        ChunkKind::Repeat { chunk } => Origin::Repeat(chunk),
        ChunkKind::Raw | ChunkKind::Zstd | ChunkKind::Delta { .. } => Origin::Stored,
    }
}

/// Which of neighbouring chunks lie in their place, and their checksums. What cannot be read is not
/// there.
fn look_at(
    (places, reading): (&Places, Reading),
    hints: Option<&Hints>,
    chunks: Range<usize>,
    buffer: &mut AlignedBuffer,
) -> Vec<(usize, u64)> {
    let release = places.release();
    let entries = &release.chunks()[chunks.clone()];
    let (Some(first), Some(place)) = (entries.first(), places.of(entries[0].image)) else {
        return Vec::new();
    };
    let zeroes = entries.iter().all(|chunk| chunk.kind == ChunkKind::Zero);
    if zeroes && reading == Reading::Anywhere && !begins_with_zeroes(place, first, buffer) {
        return Vec::new();
    }
    buffer.resize(entries.iter().map(|chunk| chunk.len as usize).sum());
    let is_read = place.read(reading, first.offset, buffer).is_ok();
    let (mut held, mut blocks) = (Vec::new(), Vec::new());
    for (number, chunk) in chunks.zip(entries) {
        let at = (chunk.offset - first.offset) as usize;
        let bytes = &mut buffer[at..at + chunk.len as usize];
        // One bad sector must not hide its neighbours.
        if !is_read && place.read(reading, chunk.offset, bytes).is_err() {
            continue;
        }
        let bytes = &*bytes;
        if may_be(release, hints, number, bytes) && matches_digest(chunk, bytes, &mut blocks) {
            if let Some(tree) = places.tree() {
                tree.learn(chunk, &blocks);
            }
            held.push((number, checksum(bytes)));
        }
    }
    held
}

/// Whether it is worth reading all of a stretch that should be zero: in a slot that holds something
/// else the first block tells.
fn begins_with_zeroes(place: &Place, first: &ChunkEntry, buffer: &mut AlignedBuffer) -> bool {
    buffer.resize(first.len.min(BLOCK_LEN) as usize);
    place.read(Reading::Anywhere, first.offset, buffer).is_ok() && is_zero(buffer)
}

/// Whether it is worth hashing `bytes`.
fn may_be(release: &Release, hints: Option<&Hints>, number: usize, bytes: &[u8]) -> bool {
    let chunk = &release.chunks()[number];
    match hints {
        _ if chunk.kind == ChunkKind::Zero => true,
        Some(hints) => {
            let (first, block) = (hints.of(release, number).first(), BLOCK_LEN as usize);
            let begins =
                first.is_some_and(|first| *first == block_hint(&bytes[..bytes.len().min(block)]));
            begins && hints.fit(release, number, bytes)
        }
        // Zeroes that are not told to be zeroes are possible, but not worth a thought: they are
        // written again.
        None => !is_zero(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_place_of_one_image_tells_nothing_of_another() {
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
        // Zeroes are everywhere: that they are in place tells nothing either.
        let origins = vec![
            Origin::Held,
            Origin::Stored,
            Origin::Held,
            Origin::Stored,
            Origin::Held,
        ];
        let survey = Survey {
            origins,
            ..Survey::default()
        };
        assert_eq!(survey.images_held(&chunks), BTreeSet::from([0, 2]));
    }
}
