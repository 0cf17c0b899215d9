//! Seeds: blocks of the other slot, from which chunks are put together instead of being fetched.
//!
//! Their content is not trusted, not even that it stays the same: a chunk that was put together
//! must have its signed digest.

use crate::batch::Origin;
use crate::batch::hints::Hints;
use crate::error::ApplyError;
use crate::slot::stored_metadata::{SealedSlot, StoredMetadata};
use crate::worker_pool::WorkerPool;
use bootctl::device::{AlignedBuffer, BlockDevice};
use bootctl::disk::Window;
use bundle::limits::{BLOCK_LEN, HINT_LEN};
use bundle::{ImageRole, Release, block_hint};
use record::PartitionName;
use seal::SEAL_LEN;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Blocks per read.
const READ_BLOCKS: u32 = 256;
/// Number of blocks from which on a sample is read before all blocks are.
const MIN_BLOCKS_TO_SAMPLE: u32 = 16 * 1024;
/// Number of places in the sample.
const SAMPLE_PLACES: u32 = 256;
/// Blocks at each place of the sample. If none of the 1024 blocks is needed, fewer than about one
/// in three hundred of all blocks is, and reading them is not worth it.
const SAMPLE_BLOCKS: u32 = 4;
/// Stands for a block of zeroes, which needs no seed.
const ZERO: u32 = u32::MAX;

/// The boot and root partition of the other slot, as one sequence of numbered blocks.
#[derive(Default)]
pub(crate) struct Seeds {
    partitions: Vec<SeedPartition>,
}

struct SeedPartition {
    window: Window,
    blocks: Range<u32>,
}

impl Seeds {
    /// Returns the blocks of a slot that its images occupy, by its metadata; all blocks of a
    /// partition if the length of its image is unknown. *Reads* the metadata.
    pub(crate) fn of(slot: SealedSlot<'_>) -> Self {
        let metadata = slot.metadata().ok();
        let mut partitions = Vec::new();
        let mut first = 0_u32;
        for (name, role) in [
            (PartitionName::boot(slot.slot), ImageRole::Boot),
            (PartitionName::root(slot.slot), ImageRole::Root),
        ] {
            let Ok(window) = slot.disk.partition(name) else {
                continue;
            };
            let len = metadata
                .as_ref()
                .and_then(|metadata| occupied_len(metadata, role))
                .unwrap_or(u64::MAX)
                .div_ceil(u64::from(BLOCK_LEN))
                .min(window.len() / u64::from(BLOCK_LEN));
            // Block numbers reach up to 16 TiB; blocks beyond that are not used.
            let blocks = u32::try_from(len).unwrap_or(ZERO);
            let end = first.saturating_add(blocks);
            partitions.push(SeedPartition {
                window,
                blocks: first..end,
            });
            // One number is left out, so that the partitions do not seem to be adjacent.
            first = end.saturating_add(1);
        }
        Self { partitions }
    }

    fn partition_of(&self, block: u32) -> Option<&SeedPartition> {
        self.partitions
            .iter()
            .find(|partition| partition.blocks.contains(&block))
    }

    /// Reads adjacent blocks.
    fn read(&self, first: u32, into: &mut [u8]) -> io::Result<()> {
        let partition = self.partition_of(first).ok_or(io::ErrorKind::NotFound)?;
        let offset = u64::from(first - partition.blocks.start) * u64::from(BLOCK_LEN);
        partition.window.read_once_at(offset, into)
    }

    fn len(&self) -> u32 {
        self.partitions
            .last()
            .map_or(0, |partition| partition.blocks.end)
    }

    /// Returns all blocks in reads of at most [`READ_BLOCKS`], none across partitions.
    fn reads(&self) -> Vec<Range<u32>> {
        let reads = self.partitions.iter().flat_map(|partition| {
            let Range { start, end } = partition.blocks;
            (start..end)
                .step_by(READ_BLOCKS as usize)
                .map(move |at| at..end.min(at.saturating_add(READ_BLOCKS)))
        });
        reads.collect()
    }

    /// Returns the blocks of the sample, at regular distances.
    fn sample(&self) -> Vec<Range<u32>> {
        let distance = (self.len() / SAMPLE_PLACES).max(1);
        let places = (0..SAMPLE_PLACES).map(|place| place * distance);
        places
            .filter_map(|at| {
                let end = self.partition_of(at)?.blocks.end;
                Some(at..end.min(at + SAMPLE_BLOCKS))
            })
            .collect()
    }

    /// Looks for the blocks of all chunks that would be fetched, and makes those chunks composed of
    /// which every block is found. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Stopped`]. A block that cannot be read is not found.
    pub(crate) async fn compose_missing(
        self,
        hints: &Hints,
        release: &Release,
        origins: &mut [Origin],
        pool: &WorkerPool,
    ) -> Result<Composition, ApplyError> {
        let missing: Vec<usize> = (0..origins.len())
            .filter(|chunk| origins[*chunk] == Origin::Stored)
            .collect();
        let wanted = missing
            .iter()
            .flat_map(|chunk| full_block_hints(hints, release, *chunk));
        let table = Arc::new(HintTable::new(wanted));
        let seeds = Arc::new(self);
        let found = find_blocks(&seeds, &table, pool).await?;
        let mut composition = Composition {
            seeds,
            blocks: Vec::new(),
        };
        for chunk in missing {
            // The last block of an image may be shorter, and then has no seed.
            if !release.chunks()[chunk].len.is_multiple_of(BLOCK_LEN) {
                continue;
            }
            let blocks: Option<Vec<u32>> = hints
                .of(release, chunk)
                .iter()
                .map(|hint| table.block_with(*hint, &found))
                .collect();
            if let Some(blocks) = blocks {
                origins[chunk] = Origin::Composed(composition.blocks.len());
                composition.blocks.extend(blocks);
            }
        }
        Ok(composition)
    }
}

/// Returns the length that the image with this role occupies in its partition, in bytes. *Pure.*
fn occupied_len(metadata: &StoredMetadata, role: ImageRole) -> Option<u64> {
    match role {
        ImageRole::Boot => {
            let len = metadata.statement.boot.len;
            Some(len.saturating_add(SEAL_LEN as u64))
        }
        _ => {
            let image = metadata.release.as_ref()?.image(role)?;
            Some(image.size)
        }
    }
}

/// Returns the hints of those blocks of a chunk that have the full length.
fn full_block_hints<'a>(
    hints: &'a Hints,
    release: &Release,
    chunk: usize,
) -> impl Iterator<Item = u64> + use<'a> {
    let full = (release.chunks()[chunk].len / BLOCK_LEN) as usize;
    hints.of(release, chunk).iter().take(full).copied()
}

/// Reads the seeds, and returns for each hash of `table` the first block that has it, or [`ZERO`].
/// If there are many seeds, it reads a sample first, and the rest only if the sample has a match.
async fn find_blocks(
    seeds: &Arc<Seeds>,
    table: &Arc<HintTable>,
    pool: &WorkerPool,
) -> Result<Vec<u32>, ApplyError> {
    let mut found = vec![ZERO; table.hashes.len()];
    if table.hashes.is_empty() || seeds.len() == 0 {
        return Ok(found);
    }
    let make_worker = || {
        let (seeds, table) = (Arc::clone(seeds), Arc::clone(table));
        let mut buffer = AlignedBuffer::default();
        move |blocks: Range<u32>| Ok(table.matches_in(&seeds, blocks, &mut buffer))
    };
    if seeds.len() >= MIN_BLOCKS_TO_SAMPLE {
        let mut matches = 0;
        let count = |found: Vec<Match>| matches += found.len();
        pool.run_all(seeds.sample(), make_worker, count).await?;
        if matches == 0 {
            return Ok(found);
        }
    }
    let note = |matches: Vec<Match>| {
        for Match { index, block } in matches {
            found[index] = found[index].min(block);
        }
    };
    pool.run_all(seeds.reads(), make_worker, note).await?;
    Ok(found)
}

/// The blocks that composed chunks are put together from.
#[derive(Default)]
pub(crate) struct Composition {
    seeds: Arc<Seeds>,
    /// The block numbers of all composed chunks, one after the other.
    blocks: Vec<u32>,
}

/// A composed chunk, and its range in a buffer.
pub(crate) struct ComposedChunk {
    /// The number in its [`Origin::Composed`].
    pub(crate) first_block: usize,
    pub(crate) range: Range<usize>,
}

impl Composition {
    /// Puts chunks together in `buffer`. *Reads.* A block that cannot be read is filled with bytes
    /// that do not have the digest.
    pub(crate) fn compose(&self, chunks: &[ComposedChunk], buffer: &mut [u8]) {
        for (first, range) in self.joined_reads(chunks) {
            let into = &mut buffer[range];
            if first == ZERO {
                into.fill(0);
            } else if self.seeds.read(first, into).is_err() {
                into.fill(0xff);
            }
        }
    }

    /// Returns the reads that put `chunks` together, as first block and range in the buffer.
    /// Adjacent blocks are read together.
    fn joined_reads(&self, chunks: &[ComposedChunk]) -> Vec<(u32, Range<usize>)> {
        let mut reads: Vec<(u32, Range<usize>)> = Vec::new();
        for ComposedChunk { first_block, range } in chunks {
            let starts = range.clone().step_by(BLOCK_LEN as usize);
            for (block, start) in self.blocks[*first_block..].iter().zip(starts) {
                let end = range.end.min(start + BLOCK_LEN as usize);
                match reads.last_mut() {
                    Some((first, last))
                        if last.end == start && follows(*first, last.len(), *block) =>
                    {
                        last.end = end;
                    }
                    _ => reads.push((*block, start..end)),
                }
            }
        }
        reads
    }
}

/// Returns whether `block` follows `len` bytes that begin with block `first`.
fn follows(first: u32, len: usize, block: u32) -> bool {
    match first {
        ZERO => block == ZERO,
        _ => block != ZERO && Some(block) == first.checked_add(len as u32 / BLOCK_LEN),
    }
}

/// A block that has a wanted hash.
struct Match {
    /// Index of the hash in the table.
    index: usize,
    block: u32,
}

/// The hashes that are looked for. Takes 16 bytes per hash, its block included.
struct HintTable {
    /// In rising order, each once, without that of zeroes.
    hashes: Vec<u64>,
    /// For each value of the highest bits the index of its first hash; and the end.
    starts: Vec<u32>,
    shift: u32,
    zero: u64,
}

impl HintTable {
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

    fn index_of(&self, hash: u64) -> Option<usize> {
        let bucket = (hash >> self.shift) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let index = self.hashes[range.clone()]
            .iter()
            .position(|wanted| *wanted == hash)?;
        Some(range.start + index)
    }

    /// Reads blocks, and returns those that have a wanted hash.
    fn matches_in(
        &self,
        seeds: &Seeds,
        blocks: Range<u32>,
        buffer: &mut AlignedBuffer,
    ) -> Vec<Match> {
        buffer.resize((blocks.end - blocks.start) as usize * BLOCK_LEN as usize);
        if seeds.read(blocks.start, buffer).is_err() {
            return Vec::new();
        }
        let blocks = buffer.chunks(BLOCK_LEN as usize).zip(blocks);
        blocks
            .filter_map(|(bytes, block)| {
                let index = self.index_of(block_hint(bytes))?;
                Some(Match { index, block })
            })
            .collect()
    }

    /// Returns the block with this hash, by the blocks that were `found`.
    fn block_with(&self, hash: u64, found: &[u32]) -> Option<u32> {
        if hash == self.zero {
            return Some(ZERO);
        }
        let block = found[self.index_of(hash)?];
        (block != ZERO).then_some(block)
    }
}
