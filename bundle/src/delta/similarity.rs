//! Where in the base a piece of the new release has its like: an index of samples, and the choice
//! of ranges by it.

use crate::delta::samples::{WINDOW, samples};
use crate::format::index::BaseRange;
use crate::format::manifest::ImageRole;
use crate::open::delta_base::Extracted;
use crate::parallel;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Most base ranges of one chunk, all together, in bytes: half of what the format allows, since
/// with chunks of 1 MiB more does not pay.
const BUDGET: u64 = 8 << 20;
/// A cell is what is chosen or not, in bytes.
const CELL: u64 = 16 << 10;
/// Bytes on both sides of what was chosen that are taken along: a changed file has changed parts
/// that no sample finds.
const MARGIN: u64 = 64 << 10;
/// Bytes between two chosen stretches that are taken along, for the same reason.
const GAP: u64 = 256 << 10;
/// Samples that occur more often in the base say nothing about where.
const MAX_PLACES: usize = 16;
/// What a cell must be worth to be chosen: two samples that occur nowhere else. One may be chance.
const LEAST_WORTH: u32 = 2 * UNIT;
/// What a sample is worth that occurs nowhere else.
const UNIT: u32 = 16;
/// Samples of a base, at most about: they take 8 bytes each.
const MAX_SAMPLES: u64 = 32 << 20;
/// Bytes that are sampled in one piece.
const PIECE: u64 = 4 << 20;
/// One in 2^8 places is a sample, if the base is not larger than 8 GiB.
const RARITY: u32 = 8;

/// Samples of the base's images, found by their tags.
pub(crate) struct Likeness {
    /// Tag and cell, in order. Cells are counted over all images.
    samples: Vec<(u32, u32)>,
    /// Where the samples begin whose tags have the same first 16 bits, and the end.
    first: Vec<usize>,
    rarity: u32,
    images: Vec<Placed>,
}

/// An image, and where it begins in the space of all images. They lie so far apart that nothing is
/// merged over their ends.
struct Placed {
    role: ImageRole,
    size: u64,
    start: u64,
}

impl Likeness {
    /// Samples all images of `base`. *Reads* them once, on `workers` threads. Memory: 8 bytes for
    /// each 256 bytes of images, at most about 256 MiB.
    pub(crate) fn of(
        base: &Extracted,
        workers: usize,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Self> {
        let mut images: Vec<Placed> = Vec::new();
        for (role, file) in base.images() {
            let end = images
                .last()
                .map_or(0, |last| last.start + last.size + 2 * MARGIN + GAP);
            let start = end.next_multiple_of(CELL);
            images.push(Placed {
                role: *role,
                size: file.metadata()?.len(),
                start,
            });
        }
        let all: u64 = images.iter().map(|image| image.size).sum();
        let rarity = (RARITY..32)
            .find(|rarity| all >> rarity <= MAX_SAMPLES)
            .unwrap_or(32);
        let mut pieces = images
            .iter()
            .zip(base.images())
            .flat_map(|(image, (_, file))| {
                (0..image.size)
                    .step_by(PIECE as usize)
                    .map(move |at| (image, file, at))
            });
        let mut found = Vec::new();
        parallel::ordered(
            workers,
            || Ok::<_, io::Error>(pieces.next()),
            Vec::new,
            |buffer: &mut Vec<u8>, (image, file, at)| -> io::Result<(Vec<(u32, u32)>, u64)> {
                let before = at.min(WINDOW as u64 - 1);
                let len = PIECE.min(image.size - at);
                buffer.resize((before + len) as usize, 0);
                file.read_exact_at(buffer, at - before)?;
                let mut own = Vec::new();
                samples(buffer, before as usize, rarity, |tag, place| {
                    own.push((
                        tag,
                        ((image.start + at - before + place as u64) / CELL) as u32,
                    ));
                });
                Ok((own, len))
            },
            |piece| {
                let (own, len) = piece?;
                found.extend(own);
                progress(len);
                Ok(())
            },
        )?;
        Ok(Self {
            rarity,
            ..Self::indexed(found, images)
        })
    }

    fn indexed(mut found: Vec<(u32, u32)>, images: Vec<Placed>) -> Self {
        found.sort_unstable();
        found.dedup();
        let mut samples = Vec::new();
        for same in found
            .chunk_by(|one, other| one.0 == other.0)
            .filter(|same| same.len() <= MAX_PLACES)
        {
            samples.extend_from_slice(same);
        }
        let mut first = vec![0_usize; (1 << 16) + 1];
        for (tag, _) in &samples {
            first[(tag >> 16) as usize + 1] += 1;
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

    /// Cells in which the sample occurs.
    fn places(&self, tag: u32) -> &[(u32, u32)] {
        let start = (tag >> 16) as usize;
        let near = &self.samples[self.first[start]..self.first[start + 1]];
        let from = near.partition_point(|(other, _)| *other < tag);
        let len = near[from..].partition_point(|(other, _)| *other == tag);
        &near[from..from + len]
    }

    /// The ranges of the base that resemble `bytes`, in their order there; none if nothing does.
    /// *Pure.*
    pub(crate) fn ranges(&self, bytes: &[u8]) -> Vec<BaseRange> {
        let chosen = self.choose(bytes);
        let stretches = widen(
            &chosen
                .iter()
                .map(|cell| u64::from(*cell) * CELL)
                .collect::<Vec<_>>(),
        );
        let mut ranges = Vec::new();
        for (start, end) in stretches {
            for image in &self.images {
                let (from, to) = (start.max(image.start), end.min(image.start + image.size));
                if from < to {
                    let (offset, len) = (from - image.start, (to - from) as u32);
                    ranges.push(BaseRange {
                        role: image.role,
                        offset,
                        len,
                    });
                }
            }
        }
        ranges
    }

    /// The cells that hold most of the samples of `bytes`, taken one by one: always the one that
    /// holds most of what is not yet held.
    fn choose(&self, bytes: &[u8]) -> BTreeSet<u32> {
        let mut worth = Vec::new();
        let mut cells: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut seen = HashSet::new();
        samples(bytes, 0, self.rarity, |tag, _| {
            let places = self.places(tag);
            if places.is_empty() || !seen.insert(tag) {
                return;
            }
            for (_, cell) in places {
                cells.entry(*cell).or_default().push(worth.len());
            }
            worth.push(UNIT / 4 + UNIT * 3 / 4 / places.len() as u32);
        });
        let value = |cell: u32, worth: &[u32]| {
            cells[&cell]
                .iter()
                .map(|sample| worth[*sample])
                .sum::<u32>()
        };
        let mut best: BinaryHeap<(u32, u32)> = cells
            .keys()
            .map(|cell| (value(*cell, &worth), *cell))
            .collect();
        let mut chosen = BTreeSet::new();
        while let Some((thought, cell)) = best.pop() {
            if thought < LEAST_WORTH || (chosen.len() as u64 + 1) * CELL > BUDGET {
                break;
            }
            let now = value(cell, &worth);
            if now < thought {
                best.push((now, cell));
                continue;
            }
            chosen.insert(cell);
            cells[&cell].iter().for_each(|sample| worth[*sample] = 0);
        }
        chosen
    }
}

/// Cells that begin at `starts`, in order, as stretches with what lies around and between them, as
/// far as that stays within the budget.
fn widen(starts: &[u64]) -> Vec<(u64, u64)> {
    for part in [1, 2, 4, 8] {
        let wide = merged(starts, MARGIN / part, GAP / part);
        if wide.iter().map(|(start, end)| end - start).sum::<u64>() <= BUDGET {
            return wide;
        }
    }
    merged(starts, 0, 0)
}

fn merged(starts: &[u64], margin: u64, gap: u64) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for start in starts {
        let (from, to) = (start.saturating_sub(margin), start + CELL + margin);
        match stretches.last_mut() {
            Some((_, end)) if from <= *end + gap => *end = to,
            _ => stretches.push((from, to)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_merged_and_the_budget_is_kept() {
        assert_eq!(
            merged(&[0, CELL, 10 * CELL], 0, 0),
            [(0, 2 * CELL), (10 * CELL, 11 * CELL)]
        );
        assert_eq!(merged(&[0, CELL, 10 * CELL], 0, 8 * CELL), [(0, 11 * CELL)]);
        assert_eq!(merged(&[4 * CELL], CELL, 0), [(3 * CELL, 6 * CELL)]);
        // Every cell alone, and as many as may be: nothing can be taken along.
        let most = BUDGET / CELL;
        let starts: Vec<u64> = (1..=most).map(|cell| cell * 64 * CELL).collect();
        let len = |stretches: &[(u64, u64)]| {
            stretches
                .iter()
                .map(|(start, end)| end - start)
                .sum::<u64>()
        };
        assert_eq!(len(&widen(&starts)), BUDGET);
        assert_eq!(len(&widen(&starts[1..65])), 64 * (CELL + MARGIN));
    }

    #[test]
    fn the_most_frequent_samples_are_forgotten() {
        let placed = Placed {
            role: ImageRole::Root,
            size: 1 << 30,
            start: 0,
        };
        let mut found: Vec<(u32, u32)> = (0..=MAX_PLACES as u32).map(|cell| (7, cell)).collect();
        found.extend([(7 << 16, 3), (7 << 16, 3), (u32::MAX, 5)]);
        let likeness = Likeness::indexed(found, vec![placed]);
        assert_eq!(likeness.places(7), []);
        assert_eq!(likeness.places(7 << 16), [(7 << 16, 3)]);
        assert_eq!(likeness.places(u32::MAX), [(u32::MAX, 5)]);
        assert_eq!(likeness.places(8), []);
    }
}
