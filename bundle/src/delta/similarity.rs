//! Finds the ranges of a base that resemble bytes of a new release, by an index of samples.

use crate::delta::samples::{WINDOW, samples};
use crate::format::index::BaseRange;
use crate::format::manifest::ImageRole;
use crate::open::slot_images::SlotImages;
use crate::parallel;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Maximum length of the base ranges of one chunk, all together, in bytes. Half of what the format
/// allows, because chunks of 1 MiB do not become shorter with more.
const BUDGET: u64 = 8 << 20;
/// Length of a cell, in bytes. A cell is chosen or not, as a whole.
const CELL: u64 = 16 << 10;
/// Bytes that are added on both sides of chosen cells: next to an unchanged part of a file are
/// changed parts that samples do not find.
const MARGIN: u64 = 64 << 10;
/// Maximum length of a gap between chosen cells that is added, for the same reason, in bytes.
const GAP: u64 = 256 << 10;
/// Samples that occur in more cells are dropped, because they do not tell where to look.
const MAX_CELLS: usize = 16;
/// Minimum value of a cell to be chosen: two samples that occur nowhere else. One may be chance.
const MIN_VALUE: u32 = 2 * UNIQUE_VALUE;
/// Value of a sample that occurs in one cell only.
const UNIQUE_VALUE: u32 = 16;
/// Approximate maximum number of samples of a base; each takes 8 bytes.
const MAX_SAMPLES: u64 = 32 << 20;
/// Number of bytes that a worker samples at once.
const PART: u64 = 4 << 20;
/// One of 2^8 positions is a sample, unless the base is larger than 8 GiB.
const RARITY: u32 = 8;

/// Samples of the images of a base, searchable by tag.
pub(crate) struct SimilarityIndex {
    /// In order.
    samples: Vec<Sample>,
    /// For each value of the first 16 bits of a tag, the number of the first sample with it; and
    /// the number of samples.
    first: Vec<usize>,
    rarity: u32,
    images: Vec<PlacedImage>,
}

/// A sample, and the cell in which it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    tag: u32,
    /// Counted over all images.
    cell: u32,
}

/// An image, and its offset in the space of all images. The images are so far apart that ranges of
/// two images are never merged.
struct PlacedImage {
    role: ImageRole,
    size: u64,
    start: u64,
}

/// A part of an image to be sampled.
struct Part<'a> {
    image: &'a PlacedImage,
    file: &'a File,
    offset: u64,
}

/// Samples of a part of an image.
struct SampledPart {
    samples: Vec<Sample>,
    len: u64,
}

impl SimilarityIndex {
    /// Samples all images of `base`. *Reads* them once, on `workers` threads. Memory: 8 bytes for
    /// each 256 bytes of images, maximum about 256 MiB.
    pub(crate) fn of(
        base: &SlotImages,
        workers: usize,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Self> {
        let images = place(base)?;
        let total: u64 = images.iter().map(|image| image.size).sum();
        let rarity = (RARITY..32)
            .find(|rarity| total >> rarity <= MAX_SAMPLES)
            .unwrap_or(32);
        let files = base.images().iter().map(|image| &image.file);
        let mut parts = images.iter().zip(files).flat_map(|(image, file)| {
            (0..image.size)
                .step_by(PART as usize)
                .map(move |offset| Part {
                    image,
                    file,
                    offset,
                })
        });
        let mut found = Vec::new();
        parallel::ordered(
            workers,
            || Ok::<_, io::Error>(parts.next()),
            Vec::new,
            |buffer, part: Part<'_>| part.sample(rarity, buffer),
            |part: io::Result<SampledPart>| {
                let part = part?;
                found.extend(part.samples);
                progress(part.len);
                Ok(())
            },
        )?;
        Ok(Self {
            rarity,
            ..Self::new(found, images)
        })
    }

    fn new(mut found: Vec<Sample>, images: Vec<PlacedImage>) -> Self {
        found.sort_unstable();
        found.dedup();
        let mut samples = Vec::new();
        for same in found
            .chunk_by(|one, other| one.tag == other.tag)
            .filter(|same| same.len() <= MAX_CELLS)
        {
            samples.extend_from_slice(same);
        }
        let mut first = vec![0_usize; (1 << 16) + 1];
        for sample in &samples {
            first[(sample.tag >> 16) as usize + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        Self {
            samples,
            first,
            rarity: RARITY,
            images,
        }
    }

    /// Returns the samples with this tag, one for each cell in which it occurs.
    fn with_tag(&self, tag: u32) -> &[Sample] {
        let start = (tag >> 16) as usize;
        let near = &self.samples[self.first[start]..self.first[start + 1]];
        let from = near.partition_point(|sample| sample.tag < tag);
        let len = near[from..].partition_point(|sample| sample.tag == tag);
        &near[from..from + len]
    }

    /// Returns the ranges of the base that resemble `bytes`, in their order in the base; none if
    /// nothing does. *Pure.*
    pub(crate) fn ranges(&self, bytes: &[u8]) -> Vec<BaseRange> {
        let starts: Vec<u64> = self
            .choose_cells(bytes)
            .into_iter()
            .map(|cell| u64::from(cell) * CELL)
            .collect();
        let mut ranges = Vec::new();
        for chosen in widen(&starts) {
            for image in &self.images {
                let start = chosen.start.max(image.start);
                let end = chosen.end.min(image.start + image.size);
                if start < end {
                    ranges.push(BaseRange {
                        role: image.role,
                        offset: start - image.start,
                        len: (end - start) as u32,
                    });
                }
            }
        }
        ranges
    }

    /// Chooses the cells that hold most of the samples of `bytes`. Greedy: the next cell is the one
    /// with the highest value of samples that no chosen cell holds.
    fn choose_cells(&self, bytes: &[u8]) -> BTreeSet<u32> {
        // The value of each sample; 0 once a chosen cell holds it.
        let mut values = Vec::new();
        let mut cells: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut seen = HashSet::new();
        samples(bytes, 0, self.rarity, |tag, _| {
            let same = self.with_tag(tag);
            if same.is_empty() || !seen.insert(tag) {
                return;
            }
            for sample in same {
                cells.entry(sample.cell).or_default().push(values.len());
            }
            values.push(UNIQUE_VALUE / 4 + UNIQUE_VALUE * 3 / 4 / same.len() as u32);
        });
        let value_of = |cell: u32, values: &[u32]| -> u32 {
            cells[&cell].iter().map(|sample| values[*sample]).sum()
        };
        let mut best: BinaryHeap<(u32, u32)> = cells
            .keys()
            .map(|cell| (value_of(*cell, &values), *cell))
            .collect();
        let mut chosen = BTreeSet::new();
        while let Some((expected, cell)) = best.pop() {
            if expected < MIN_VALUE || (chosen.len() as u64 + 1) * CELL > BUDGET {
                break;
            }
            // Cells that were chosen since may have lowered the value.
            let value = value_of(cell, &values);
            if value < expected {
                best.push((value, cell));
                continue;
            }
            chosen.insert(cell);
            for sample in &cells[&cell] {
                values[*sample] = 0;
            }
        }
        chosen
    }
}

/// Places the images of `base` one after the other. *Reads* their sizes.
fn place(base: &SlotImages) -> io::Result<Vec<PlacedImage>> {
    let mut images: Vec<PlacedImage> = Vec::new();
    for image in base.images() {
        let end = images
            .last()
            .map_or(0, |last| last.start + last.size + 2 * MARGIN + GAP);
        images.push(PlacedImage {
            role: image.role,
            size: image.file.metadata()?.len(),
            start: end.next_multiple_of(CELL),
        });
    }
    Ok(images)
}

impl Part<'_> {
    /// Returns the samples of the part. *Reads* it into `buffer`.
    fn sample(&self, rarity: u32, buffer: &mut Vec<u8>) -> io::Result<SampledPart> {
        let before = self.offset.min(WINDOW as u64 - 1);
        let start = self.offset - before;
        let len = PART.min(self.image.size - self.offset);
        buffer.resize((before + len) as usize, 0);
        self.file.read_exact_at(buffer, start)?;
        let mut found = Vec::new();
        samples(buffer, before as usize, rarity, |tag, at| {
            let cell = ((self.image.start + start + at as u64) / CELL) as u32;
            found.push(Sample { tag, cell });
        });
        Ok(SampledPart {
            samples: found,
            len,
        })
    }
}

/// Returns ranges of the cells that begin at `starts`, with what is around and between them as far
/// as the budget allows. *Pure.*
fn widen(starts: &[u64]) -> Vec<Range<u64>> {
    for divisor in [1, 2, 4, 8] {
        let wide = merge(starts, MARGIN / divisor, GAP / divisor);
        if total_len(&wide) <= BUDGET {
            return wide;
        }
    }
    merge(starts, 0, 0)
}

fn merge(starts: &[u64], margin: u64, gap: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for start in starts {
        let widened = start.saturating_sub(margin)..start + CELL + margin;
        match ranges.last_mut() {
            Some(last) if widened.start <= last.end + gap => last.end = widened.end,
            _ => ranges.push(widened),
        }
    }
    ranges
}

fn total_len(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_cells_are_merged_within_the_budget() {
        let merged = |starts: &[u64], margin, gap| merge(starts, margin, gap);
        assert_eq!(
            merged(&[0, CELL, 10 * CELL], 0, 0),
            [0..2 * CELL, 10 * CELL..11 * CELL]
        );
        let all = std::iter::once(0..11 * CELL).collect::<Vec<_>>();
        assert_eq!(merged(&[0, CELL, 10 * CELL], 0, 8 * CELL), all);
        let widened = std::iter::once(3 * CELL..6 * CELL).collect::<Vec<_>>();
        assert_eq!(merged(&[4 * CELL], CELL, 0), widened);
        // Single cells that use up the budget: nothing can be added to them.
        let maximum = BUDGET / CELL;
        let starts: Vec<u64> = (1..=maximum).map(|cell| cell * 64 * CELL).collect();
        assert_eq!(total_len(&widen(&starts)), BUDGET);
        assert_eq!(total_len(&widen(&starts[1..65])), 64 * (CELL + MARGIN));
    }

    #[test]
    fn samples_that_occur_in_too_many_cells_are_dropped() {
        let image = PlacedImage {
            role: ImageRole::Root,
            size: 1 << 30,
            start: 0,
        };
        let sample = |tag, cell| Sample { tag, cell };
        let mut found: Vec<Sample> = (0..=MAX_CELLS as u32).map(|cell| sample(7, cell)).collect();
        found.extend([sample(7 << 16, 3), sample(7 << 16, 3), sample(u32::MAX, 5)]);
        let index = SimilarityIndex::new(found, vec![image]);
        assert_eq!(index.with_tag(7), []);
        assert_eq!(index.with_tag(7 << 16), [sample(7 << 16, 3)]);
        assert_eq!(index.with_tag(u32::MAX), [sample(u32::MAX, 5)]);
        assert_eq!(index.with_tag(8), []);
    }
}
