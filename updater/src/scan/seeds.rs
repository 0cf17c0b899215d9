//! What the other slot holds: blocks that chunks can be put together from, instead of being
//! fetched.
//!
//! Nothing in it is trusted, not even that it stays as it is: what was put together must have the
//! chunk's SHA-256.

use crate::batch::Origin;
use crate::batch::hints::Hints;
use crate::error::ApplyError;
use crate::slot::stored_metadata as kept;
use crate::worker_pool::{Stop, Workers};
use bootctl::device::{AlignedBuffer, BlockDevice};
use bootctl::disk::{Disk, Window};
use bundle::limits::{BLOCK_LEN, HINT_LEN};
use bundle::{ImageRole, Release, block_hint};
use record::Slot;
use seal::{SEAL_LEN, Statement, Trust};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Blocks that are read at a time.
const READ_BLOCKS: u32 = 256;
/// Below this many blocks everything is looked at; above it a sample is looked at first.
const SAMPLE_FROM: u32 = 16 * 1024;
/// Places of the sample, and blocks of each. If not even one block of them is wanted, less than
/// about one in three hundred is, and looking at all of them is not worth it.
const SAMPLE: (u32, u32) = (256, 4);
/// Stands for a block of zeroes, which needs no place.
const ZERO: u32 = u32::MAX;

/// The partitions of the slot that is not written to, as one row of blocks.
#[derive(Default)]
pub(crate) struct Seeds {
    windows: Vec<(Window, Range<u32>)>,
}

impl Seeds {
    /// Boot and root partition of `slot`, as far as they are there, and as far as they hold
    /// anything: how long its images are stands in its seal and in what it keeps of its bundle.
    /// Where that cannot be told, all of a partition. *Reads* these.
    pub(crate) fn of(disk: &Disk, slot: Slot, trust: &Trust) -> Self {
        let partitions = [
            (disk.boot(slot), ImageRole::Boot),
            (disk.root(slot), ImageRole::Root),
        ];
        let known = disk
            .boot(slot)
            .ok()
            .and_then(|boot| kept::read(&boot, trust).ok());
        let mut windows = Vec::new();
        let mut first = 0_u32;
        for (window, role) in partitions {
            let Ok(window) = window else { continue };
            let len = known
                .as_ref()
                .and_then(|known| held_len(known, role))
                .unwrap_or(u64::MAX);
            // 16 TiB in all; of what goes beyond nothing is looked at.
            let len = len
                .div_ceil(u64::from(BLOCK_LEN))
                .min(window.len() / u64::from(BLOCK_LEN));
            let blocks = u32::try_from(len).unwrap_or(ZERO);
            let end = first.saturating_add(blocks);
            windows.push((window, first..end));
            // One number is left out, so that nothing seems to go on from one partition to the
            // next.
            first = end.saturating_add(1);
        }
        Self { windows }
    }

    /// Reads blocks that lie next to each other.
    fn read(&self, first: u32, into: &mut [u8]) -> io::Result<()> {
        let holds = |(_, blocks): &&(Window, Range<u32>)| blocks.contains(&first);
        let (window, blocks) = self
            .windows
            .iter()
            .find(holds)
            .ok_or(io::ErrorKind::NotFound)?;
        window.read_once_at(u64::from(first - blocks.start) * u64::from(BLOCK_LEN), into)
    }

    fn len(&self) -> u32 {
        self.windows.last().map_or(0, |(_, blocks)| blocks.end)
    }

    /// Pieces of at most [`READ_BLOCKS`], none across two partitions.
    fn pieces(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.windows.iter().flat_map(|(_, blocks)| {
            let end = blocks.end;
            blocks
                .clone()
                .step_by(READ_BLOCKS as usize)
                .map(move |at| at..end.min(at.saturating_add(READ_BLOCKS)))
        })
    }

    /// Places of the sample, spread evenly.
    fn sample(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let (places, blocks) = SAMPLE;
        let step = (self.len() / places).max(1);
        (0..places)
            .map(move |place| place * step)
            .filter_map(move |at| {
                let end = self
                    .windows
                    .iter()
                    .find(|(_, held)| held.contains(&at))
                    .map(|(_, held)| held.end)?;
                Some(at..end.min(at + blocks))
            })
    }
}

/// How much of a slot partition holds the image with this role, in bytes, by what the slot says of
/// itself. *Pure.*
fn held_len((statement, kept): &(Statement, Option<Arc<Release>>), role: ImageRole) -> Option<u64> {
    match role {
        ImageRole::Boot => Some(statement.boot.len.saturating_add(SEAL_LEN as u64)),
        _ => kept
            .as_ref()
            .and_then(|kept| kept.image(role))
            .map(|image| image.size),
    }
}

/// Where the blocks of composed chunks lie: for each of them one number for each of its blocks.
#[derive(Default)]
pub(crate) struct Composition {
    seeds: Arc<Seeds>,
    blocks: Vec<u32>,
}

impl Composition {
    /// Puts chunks together in `buffer`: `parts` are the first of each chunk's blocks in the list,
    /// and where it goes. What cannot be read leaves bytes there that do not have the chunk's
    /// SHA-256.
    pub(crate) fn compose(&self, parts: &[(usize, Range<usize>)], buffer: &mut [u8]) {
        let block = BLOCK_LEN as usize;
        let mut pieces: Vec<(u32, Range<usize>)> = Vec::new();
        for (first, place) in parts {
            let places = place
                .clone()
                .step_by(block)
                .map(|at| at..place.end.min(at + block));
            for (number, place) in self.blocks[*first..].iter().zip(places) {
                match pieces.last_mut() {
                    Some((start, last))
                        if last.end == place.start && follows(*start, last.len(), *number) =>
                    {
                        last.end = place.end;
                    }
                    _ => pieces.push((*number, place)),
                }
            }
        }
        for (first, place) in pieces {
            let into = &mut buffer[place];
            if first == ZERO {
                into.fill(0);
            } else if self.seeds.read(first, into).is_err() {
                into.fill(0xff);
            }
        }
    }
}

/// Whether block `number` goes on where a piece of `len` bytes from block `first` ends.
fn follows(first: u32, len: usize, number: u32) -> bool {
    match first {
        ZERO => number == ZERO,
        _ => number != ZERO && Some(number) == first.checked_add(len as u32 / BLOCK_LEN),
    }
}

/// Looks in `seeds` for the blocks of chunks that would have to be fetched, and makes those
/// composed of which every block is there. *Reads.*
pub(crate) async fn find(
    seeds: Seeds,
    hints: &Hints,
    release: &Release,
    origins: &mut [Origin],
    (jobs, stop): (usize, &Stop),
) -> Result<Composition, ApplyError> {
    let seeds = Arc::new(seeds);
    let stored = |origin: &Origin| *origin == Origin::Stored;
    let missing: Vec<usize> = (0..origins.len())
        .filter(|chunk| stored(&origins[*chunk]))
        .collect();
    let table = Arc::new(Table::new(
        missing
            .iter()
            .flat_map(|chunk| full_blocks(hints, release, *chunk)),
    ));
    let mut places = vec![ZERO; table.hashes.len()];
    if !table.hashes.is_empty() && seeds.len() > 0 {
        let look = || {
            let (seeds, table, mut buffer) = (
                Arc::clone(&seeds),
                Arc::clone(&table),
                AlignedBuffer::default(),
            );
            move |piece: Range<u32>| Ok(table.look(&seeds, piece, &mut buffer))
        };
        let mut found = 0;
        if seeds.len() >= SAMPLE_FROM {
            let sample: Vec<_> = seeds.sample().collect();
            Workers::start(jobs, stop, look)
                .all(sample, |hits| found += hits.len())
                .await?;
        }
        if found > 0 || seeds.len() < SAMPLE_FROM {
            let pieces: Vec<_> = seeds.pieces().collect();
            let told = |hits: Vec<(u32, u32)>| {
                for (place, block) in hits {
                    places[place as usize] = places[place as usize].min(block);
                }
            };
            Workers::start(jobs, stop, look).all(pieces, told).await?;
        }
    }
    let mut blocks = Vec::new();
    for chunk in missing {
        let first = blocks.len();
        let whole = release.chunks()[chunk].len.is_multiple_of(BLOCK_LEN);
        let known = hints
            .of(release, chunk)
            .iter()
            .map(|hint| table.place(*hint, &places));
        blocks.extend(known.map_while(|place| place));
        if whole && blocks.len() - first == hints.of(release, chunk).len() {
            origins[chunk] = Origin::Composed(first);
        } else {
            blocks.truncate(first);
        }
    }
    Ok(Composition { seeds, blocks })
}

/// The hints of those blocks of a chunk that are not cut short by the end of the image.
fn full_blocks<'a>(
    hints: &'a Hints,
    release: &Release,
    chunk: usize,
) -> impl Iterator<Item = u64> + use<'a> {
    let full = (release.chunks()[chunk].len / BLOCK_LEN) as usize;
    hints.of(release, chunk).iter().take(full).copied()
}

/// Hashes that are looked for. 16 bytes for each, with its place.
struct Table {
    /// In rising order, each once, without that of zeroes.
    hashes: Vec<u64>,
    /// For each value of the highest bits, where its hashes begin; and the end.
    starts: Vec<u32>,
    shift: u32,
    zero: u64,
}

impl Table {
    fn new(hashes: impl Iterator<Item = u64>) -> Self {
        let zero = block_hint(&[0; BLOCK_LEN as usize]);
        let mut hashes: Vec<u64> = hashes.filter(|hash| *hash != zero).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        let bits = hashes.len().next_power_of_two().trailing_zeros().max(1);
        let shift = (HINT_LEN as u32 * 8).saturating_sub(bits);
        let mut at = 0;
        let starts = (0..=1_u64 << bits).map(|top| {
            while hashes.get(at).is_some_and(|hash| hash >> shift < top) {
                at += 1;
            }
            at as u32
        });
        let starts = starts.collect();
        Self {
            hashes,
            starts,
            shift,
            zero,
        }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let bucket = (hash >> self.shift) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let place = self.hashes[range.clone()]
            .iter()
            .position(|held| *held == hash)?;
        Some(range.start + place)
    }

    /// Which wanted hashes the blocks of a piece have: place in the table, and block.
    fn look(
        &self,
        seeds: &Seeds,
        piece: Range<u32>,
        buffer: &mut AlignedBuffer,
    ) -> Vec<(u32, u32)> {
        let block = BLOCK_LEN as usize;
        buffer.resize((piece.end - piece.start) as usize * block);
        if seeds.read(piece.start, buffer).is_err() {
            return Vec::new();
        }
        let hits = buffer.chunks(block).zip(piece);
        hits.filter_map(|(bytes, number)| Some((self.find(block_hint(bytes))? as u32, number)))
            .collect()
    }

    /// Where the block with this hash is; `None` if it is nowhere.
    fn place(&self, hash: u64, places: &[u32]) -> Option<u32> {
        if hash == self.zero {
            return Some(ZERO);
        }
        let place = places[self.find(hash)?];
        (place != ZERO).then_some(place)
    }
}
