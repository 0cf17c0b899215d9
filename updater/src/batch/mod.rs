//! What is written, in which portions: neighbouring chunks go to the disk in one piece. Pure.

pub(crate) mod hints;

use bundle::{ChunkKind, Release};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of an image that one job aims at: long enough for a disk to be at its best, short enough
/// for a few of them for each thread.
pub(crate) const BATCH_LEN: u64 = 1 << 20;
/// The same for what comes over a network or through a pipe: what was fetched of a job is lost in a
/// power cut.
pub(crate) const STREAMED_BATCH_LEN: u64 = 256 << 10;

/// Where the bytes of a chunk come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody wants it.
    Unwanted,
    /// It lies in its place already.
    Held,
    /// It is zero.
    Zero,
    /// It is the same as another chunk, wherever that one comes from.
    Repeat(usize),
    /// It can be put together from blocks that the disk has: the first of its entries in the list
    /// of places.
    Composed(usize),
    /// It has to be taken from the source.
    Stored,
    /// The source has it only as a difference to what turned out to be damaged.
    Lost,
}

/// What one worker does at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Neighbouring chunks of one image, which become one piece of memory.
    Chunks(Vec<Part>),
    /// Neighbouring chunks of one image that become zero.
    Zeroes(Range<usize>),
}

/// A chunk of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its number.
    pub(crate) chunk: usize,
    /// Where its bytes come from.
    pub(crate) origin: Origin,
    /// Whether it is written to its own place; else it is only needed for others.
    pub(crate) own: bool,
    /// Chunks that are the same, and are written too.
    pub(crate) also: Vec<usize>,
}

impl Part {
    /// All places that it is written to.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.own
            .then_some(self.chunk)
            .into_iter()
            .chain(self.also.iter().copied())
    }
}

/// The chunks with stored bytes that a batch takes from the source, in order.
pub(crate) fn stored(batch: &Batch) -> impl Iterator<Item = usize> + '_ {
    let parts = match batch {
        Batch::Chunks(parts) => parts.as_slice(),
        Batch::Zeroes(_) => &[],
    };
    parts
        .iter()
        .filter(|part| part.origin == Origin::Stored)
        .map(|part| part.chunk)
}

/// Joins the stored bytes of `chunks` where they lie next to each other: ranges of the bundle file.
/// *Pure.*
pub(crate) fn joined(release: &Release, chunks: impl Iterator<Item = usize>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for chunk in chunks {
        let range = release.file_range(&release.chunks()[chunk]);
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// The jobs that bring everything to its place that is not there, by number of the chunk. *Pure.*
///
/// With a chunk that builds upon the bytes before it come the chunks in which those lie, even if
/// they are in their place already.
pub(crate) fn batches(release: &Release, origins: &[Origin], batch_len: u64) -> Vec<Batch> {
    let mut repeats: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (chunk, origin) in origins.iter().enumerate() {
        if let Origin::Repeat(of) = origin {
            repeats.entry(*of).or_default().push(chunk);
        }
    }
    let mut build = Builder {
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
        for parts in needed(release, origins, run.clone(), &mut repeats) {
            build.add(parts);
        }
        chunk = run.end.max(chunk + 1);
    }
    build.batches
}

/// The parts of a run that have to be written, or that those build upon: stretches of neighbours.
fn needed(
    release: &Release,
    origins: &[Origin],
    run: Range<usize>,
    repeats: &mut BTreeMap<usize, Vec<usize>>,
) -> Vec<Vec<Part>> {
    let mut stretches: Vec<Vec<Part>> = Vec::new();
    let mut after = None;
    // From this byte of the image on, what lies before the last part is built upon.
    let mut upon = u64::MAX;
    for number in run.rev() {
        let (chunk, origin) = (&release.chunks()[number], origins[number]);
        let (own, also) = (
            is_missing(origin),
            repeats.remove(&number).unwrap_or_default(),
        );
        if !own && also.is_empty() && chunk.offset + u64::from(chunk.len) <= upon {
            continue;
        }
        if origin == Origin::Stored {
            upon = upon.min(chunk.offset - u64::from(chunk.before));
        }
        let part = Part {
            chunk: number,
            origin,
            own,
            also,
        };
        match stretches.last_mut() {
            Some(last) if after == Some(number + 1) => last.push(part),
            _ => stretches.push(vec![part]),
        }
        after = Some(number);
    }
    stretches.iter_mut().for_each(|stretch| stretch.reverse());
    stretches.reverse();
    stretches
}

/// Whether a chunk has to be written from its own bytes; a repeat is written together with what it
/// repeats.
fn is_missing(origin: Origin) -> bool {
    matches!(origin, Origin::Zero | Origin::Composed(_) | Origin::Stored)
}

struct Builder<'a> {
    release: &'a Release,
    batch_len: u64,
    batches: Vec<Batch>,
    /// Image and length of the last batch, and the chunk that would follow it.
    image: usize,
    len: u64,
    next: usize,
}

impl Builder<'_> {
    fn add(&mut self, run: Vec<Part>) {
        let chunks = self.release.chunks();
        let (Some(first), Some(last)) = (run.first().map(|part| part.chunk), run.last()) else {
            return;
        };
        let end = last.chunk + 1;
        let len: u64 = run
            .iter()
            .map(|part| u64::from(chunks[part.chunk].len))
            .sum();
        let image = chunks[first].image;
        let follows = !self.batches.is_empty() && first == self.next && image == self.image;
        let is_zero = run.len() == 1 && run[0].origin == Origin::Zero && run[0].also.is_empty();
        match self.batches.last_mut() {
            Some(Batch::Zeroes(range)) if is_zero && follows => range.end = end,
            Some(Batch::Chunks(parts))
                if !is_zero && follows && self.len + len <= self.batch_len =>
            {
                parts.extend(run);
                self.len += len;
            }
            _ => {
                self.batches.push(if is_zero {
                    Batch::Zeroes(first..end)
                } else {
                    Batch::Chunks(run)
                });
                self.len = len;
            }
        }
        (self.next, self.image) = (end, image);
    }
}

/// Neighbouring chunks of one image, up to [`BATCH_LEN`] at a time, among those that are `wanted`.
/// *Pure.*
pub(crate) fn stretches(release: &Release, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let chunks = release.chunks();
    let mut stretches: Vec<Range<usize>> = Vec::new();
    let mut len = 0;
    for (number, chunk) in chunks
        .iter()
        .enumerate()
        .filter(|(number, _)| wanted(*number))
    {
        match stretches.last_mut() {
            Some(last)
                if last.end == number
                    && chunks[last.start].image == chunk.image
                    && len + u64::from(chunk.len) <= BATCH_LEN =>
            {
                last.end = number + 1;
                len += u64::from(chunk.len);
            }
            _ => {
                stretches.push(number..number + 1);
                len = u64::from(chunk.len);
            }
        }
    }
    stretches
}

/// The chunk whose stored bytes or blocks stand for `chunk`: itself, or the one that it repeats.
/// *Pure.*
pub(crate) fn original(release: &Release, chunk: usize) -> usize {
    match release.chunks()[chunk].kind {
        ChunkKind::Repeat { chunk } => chunk,
        _ => chunk,
    }
}
