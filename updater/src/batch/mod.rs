//! Batches: neighbouring chunks that one worker fetches, decodes and writes together. *Pure.*
//!
//! The unit of the network is a *range* of bytes, that of the index a *chunk*, that of a worker a
//! *batch*. [`hints`] has the block hints of a bundle.

pub(crate) mod hints;

use bundle::{ChunkKind, Release};
use std::collections::BTreeMap;
use std::ops::Range;

/// Length of a batch in bytes of the image: long enough for the best speed of a disk, short enough
/// to keep a few per thread in memory.
pub(crate) const BATCH_LEN: u64 = 1 << 20;
/// Length of a batch from a network or pipe: a power cut loses the fetched part of a batch.
pub(crate) const STREAMED_BATCH_LEN: u64 = 256 << 10;

/// The origin of the bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The chunk has no destination.
    Unwanted,
    /// It is in place already.
    InPlace,
    /// It is zero.
    Zero,
    /// It equals another chunk.
    Repeat(usize),
    /// It can be put together from blocks of the other slot. The number is the index of its first
    /// block in the composition.
    Composed(usize),
    /// Its stored bytes are taken from the source.
    Stored,
    /// Its stored bytes are a delta to a range that turned out to be damaged.
    FailedDelta,
}

/// The chunks that one worker works on at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Neighbouring chunks of one image, decoded into one buffer.
    Chunks(Vec<BatchChunk>),
    /// Neighbouring chunks of one image that become zero.
    Zeroes(Range<usize>),
}

/// A chunk of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchChunk {
    /// Its number.
    pub(crate) number: usize,
    /// The origin of its bytes.
    pub(crate) origin: Origin,
    /// It is written; otherwise it is only decoded because others build upon it.
    pub(crate) is_written: bool,
    /// Chunks with the same bytes, which are written, too.
    pub(crate) repeats: Vec<usize>,
}

impl BatchChunk {
    /// Returns the numbers of all chunks that are written with its bytes.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = usize> + '_ {
        self.is_written
            .then_some(self.number)
            .into_iter()
            .chain(self.repeats.iter().copied())
    }
}

impl Batch {
    /// Returns the chunks whose stored bytes are taken from the source, in order.
    pub(crate) fn stored_chunks(&self) -> impl Iterator<Item = usize> + '_ {
        let chunks = match self {
            Self::Chunks(chunks) => chunks.as_slice(),
            Self::Zeroes(_) => &[],
        };
        chunks
            .iter()
            .filter(|chunk| chunk.origin == Origin::Stored)
            .map(|chunk| chunk.number)
    }
}

/// Returns the ranges of the bundle file that hold the stored bytes of `chunks`. Adjacent ones are
/// joined.
pub(crate) fn stored_ranges(
    release: &Release,
    chunks: impl Iterator<Item = usize>,
) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for chunk in chunks {
        let range = release.file_range(&release.chunks()[chunk]);
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// Returns the batches that write all missing chunks, in the order of their numbers.
///
/// A batch with a chunk that builds upon the bytes before it also has the chunks with those bytes,
/// even if they are in place already.
pub(crate) fn batches(release: &Release, origins: &[Origin], batch_len: u64) -> Vec<Batch> {
    let mut repeats: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (chunk, origin) in origins.iter().enumerate() {
        if let Origin::Repeat(of) = origin {
            repeats.entry(*of).or_default().push(chunk);
        }
    }
    let mut builder = Builder {
        release,
        batch_len,
        batches: Vec::new(),
        image: 0,
        len: 0,
        next: 0,
    };
    let mut chunk = 0;
    while chunk < origins.len() {
        let run = release.run_of(chunk);
        for chunks in needed_of_run(release, origins, run.clone(), &mut repeats) {
            builder.add(chunks);
        }
        chunk = run.end.max(chunk + 1);
    }
    builder.batches
}

/// Returns the chunks of a run that are written or that those build upon, as groups of neighbours.
fn needed_of_run(
    release: &Release,
    origins: &[Origin],
    run: Range<usize>,
    repeats: &mut BTreeMap<usize, Vec<usize>>,
) -> Vec<Vec<BatchChunk>> {
    let mut groups: Vec<Vec<BatchChunk>> = Vec::new();
    let mut previous = None;
    // The chunks seen so far build upon the bytes of the image from here on.
    let mut needed_from = u64::MAX;
    for number in run.rev() {
        let chunk = &release.chunks()[number];
        let needed = BatchChunk {
            number,
            origin: origins[number],
            is_written: is_missing(origins[number]),
            repeats: repeats.remove(&number).unwrap_or_default(),
        };
        let end = chunk.offset + u64::from(chunk.len);
        if needed.destinations().next().is_none() && end <= needed_from {
            continue;
        }
        if needed.origin == Origin::Stored {
            needed_from = needed_from.min(chunk.offset - u64::from(chunk.before));
        }
        match groups.last_mut() {
            Some(group) if previous == Some(number + 1) => group.push(needed),
            _ => groups.push(vec![needed]),
        }
        previous = Some(number);
    }
    groups.iter_mut().for_each(|group| group.reverse());
    groups.reverse();
    groups
}

/// Returns whether a chunk is written from its own bytes; a repeat is written with its original.
fn is_missing(origin: Origin) -> bool {
    matches!(origin, Origin::Zero | Origin::Composed(_) | Origin::Stored)
}

struct Builder<'a> {
    release: &'a Release,
    batch_len: u64,
    batches: Vec<Batch>,
    /// Image and length of the last batch, and the number of the chunk that would follow it.
    image: usize,
    len: u64,
    next: usize,
}

impl Builder<'_> {
    /// Adds neighbouring chunks to the last batch, or begins a new one.
    fn add(&mut self, group: Vec<BatchChunk>) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return;
        };
        let chunks = self.release.chunks();
        let numbers = first.number..last.number + 1;
        let len: u64 = group
            .iter()
            .map(|chunk| u64::from(chunks[chunk.number].len))
            .sum();
        let image = chunks[numbers.start].image;
        let follows = !self.batches.is_empty() && numbers.start == self.next && image == self.image;
        let is_zero = group.len() == 1 && first.origin == Origin::Zero && first.repeats.is_empty();
        self.next = numbers.end;
        self.image = image;
        match self.batches.last_mut() {
            Some(Batch::Zeroes(range)) if is_zero && follows => range.end = numbers.end,
            Some(Batch::Chunks(batch))
                if !is_zero && follows && self.len + len <= self.batch_len =>
            {
                batch.extend(group);
                self.len += len;
            }
            _ => {
                self.batches.push(if is_zero {
                    Batch::Zeroes(numbers)
                } else {
                    Batch::Chunks(group)
                });
                self.len = len;
            }
        }
    }
}

/// Returns the chunks that are `wanted`, as groups of neighbours in one image of at most
/// [`BATCH_LEN`].
pub(crate) fn neighbours(release: &Release, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let chunks = release.chunks();
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut len = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        if !wanted(number) {
            continue;
        }
        match groups.last_mut() {
            Some(group)
                if group.end == number
                    && chunks[group.start].image == chunk.image
                    && len + u64::from(chunk.len) <= BATCH_LEN =>
            {
                group.end = number + 1;
                len += u64::from(chunk.len);
            }
            _ => {
                groups.push(number..number + 1);
                len = u64::from(chunk.len);
            }
        }
    }
    groups
}

/// Returns the total length of chunks in their images, in bytes.
pub(crate) fn total_len(release: &Release, chunks: impl IntoIterator<Item = usize>) -> u64 {
    chunks
        .into_iter()
        .map(|chunk| u64::from(release.chunks()[chunk].len))
        .sum()
}

/// Returns the chunk whose stored bytes and hints `chunk` has: itself, or the one that it repeats.
pub(crate) fn original(release: &Release, chunk: usize) -> usize {
    match release.chunks()[chunk].kind {
        ChunkKind::Repeat { chunk } => chunk,
        _ => chunk,
    }
}
