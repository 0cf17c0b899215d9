//! The work on a batch: verify the stored bytes, decode them, verify the result, write it.

use super::chunk_source::FetchedBatch;
use super::verify_written::WrittenChunk;
use crate::batch::{Batch, BatchChunk, Origin, total_len};
use crate::error::ApplyError;
use crate::scan::seeds::{ComposedChunk, Composition};
use crate::slot::delta_base::FailedDelta;
use crate::slot::hash::{checksum, matches_digest};
use crate::slot::image_location::ReadFrom;
use crate::slot::writer::SlotWriter;
use bootctl::device::AlignedBuffer;
use bundle::verity::Hash;
use bundle::{ChunkEntry, ChunkKind, DecodeError, Decoder, StoredChunk};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// One thread of the pipeline, with a buffer for one batch that it reuses.
pub(crate) struct BatchWorker {
    writer: Arc<SlotWriter>,
    composition: Arc<Composition>,
    decoder: Decoder,
    buffer: AlignedBuffer,
    /// Hashes of the blocks of the last chunk that was decoded.
    blocks: Vec<Hash>,
    /// Take checksums, for reading back.
    checksums: bool,
}

/// Result of writing a batch.
#[derive(Default)]
pub(crate) struct BatchResult {
    /// Chunks that are in place now.
    pub(crate) written: Vec<WrittenChunk>,
    /// Chunks that the disk turned out not to hold: they must be fetched.
    pub(crate) missing: Vec<usize>,
    /// Chunks that could not be decoded from the base.
    pub(crate) failed_deltas: Vec<FailedDelta>,
}

/// A chunk of the batch, and its range in the buffer.
struct Placed<'a> {
    chunk: &'a BatchChunk,
    entry: &'a ChunkEntry,
    range: Range<usize>,
}

/// Result of decoding a chunk into the buffer.
enum Decoded {
    /// Its bytes, with the signed digest.
    Verified,
    /// The disk does not hold what it seemed to hold.
    Missing,
    /// The base does not hold what it should.
    FailedDelta(DecodeError),
}

impl Decoded {
    const fn verified_if(is_verified: bool) -> Self {
        if is_verified {
            Self::Verified
        } else {
            Self::Missing
        }
    }
}

impl BatchWorker {
    pub(crate) fn new(
        writer: &Arc<SlotWriter>,
        composition: &Arc<Composition>,
        checksums: bool,
    ) -> Self {
        Self {
            writer: Arc::clone(writer),
            composition: Arc::clone(composition),
            decoder: Decoder::default(),
            buffer: AlignedBuffer::default(),
            blocks: Vec::new(),
            checksums,
        }
    }

    /// Verifies the stored bytes of a batch. Returns their number. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Decode`] for other bytes than were signed, [`ApplyError::Fetch`].
    pub(crate) fn verify(&self, mut fetched: FetchedBatch) -> Result<u64, ApplyError> {
        let release = self.writer.release();
        let stored = fetched.take_stored(release)?;
        let len = stored.iter().map(|bytes| bytes.len() as u64).sum();
        for (chunk, bytes) in fetched.batch.stored_chunks().zip(stored) {
            StoredChunk::check(release, chunk, bytes)?;
        }
        Ok(len)
    }

    /// Decodes, verifies and writes the chunks of a batch. *Writes*; durable after a flush.
    ///
    /// # Errors
    /// [`ApplyError::Decode`] for other bytes than were signed, [`ApplyError::Fetch`],
    /// [`ApplyError::Write`].
    ///
    /// # Power loss
    /// Any of the batch may be missing. The slot is Unbootable at this time.
    pub(crate) fn write(&mut self, mut fetched: FetchedBatch) -> Result<BatchResult, ApplyError> {
        let stored = fetched.take_stored(self.writer.release())?;
        match fetched.batch {
            Batch::Zeroes(chunks) => self.write_zeroes(chunks),
            Batch::Chunks(chunks) => self.write_chunks(&chunks, stored),
        }
    }

    fn write_zeroes(&self, chunks: Range<usize>) -> Result<BatchResult, ApplyError> {
        let release = self.writer.release();
        let first = &release.chunks()[chunks.start];
        let len = total_len(release, chunks.clone());
        self.writer
            .write_zeroes(first.image, first.offset, len)
            .map_err(|error| self.write_error(first.image, error))?;
        if let Some(tree) = self.writer.tree() {
            let entries = &release.chunks()[chunks.clone()];
            entries.iter().for_each(|entry| tree.add(entry, &[]));
            tree.write_complete()?;
        }
        let zero = |number| WrittenChunk {
            number,
            checksum: 0,
        };
        Ok(BatchResult {
            written: chunks.map(zero).collect(),
            ..BatchResult::default()
        })
    }

    fn write_chunks(
        &mut self,
        chunks: &[BatchChunk],
        stored: Vec<Bytes>,
    ) -> Result<BatchResult, ApplyError> {
        let writer = Arc::clone(&self.writer);
        let placed = place(chunks, writer.release().chunks());
        self.buffer
            .resize(placed.last().map_or(0, |last| last.range.end));
        self.compose(&placed);
        let mut result = BatchResult::default();
        let verified = self.decode(placed, stored, &mut result)?;
        self.write_verified(&verified)?;
        if let Some(tree) = writer.tree() {
            tree.write_complete()?;
        }
        Ok(result)
    }

    /// Puts the composed chunks together in the buffer. They are not verified yet.
    fn compose(&mut self, placed: &[Placed<'_>]) {
        let composed = |placed: &Placed<'_>| match placed.chunk.origin {
            Origin::Composed(first_block) => Some(ComposedChunk {
                first_block,
                range: placed.range.clone(),
            }),
            _ => None,
        };
        let composed: Vec<_> = placed.iter().filter_map(composed).collect();
        self.composition.compose(&composed, &mut self.buffer);
    }

    /// Decodes and verifies all chunks in the buffer, and returns those with their signed digest.
    fn decode<'c>(
        &mut self,
        placed: Vec<Placed<'c>>,
        stored: Vec<Bytes>,
        result: &mut BatchResult,
    ) -> Result<Vec<Placed<'c>>, ApplyError> {
        let mut stored = stored.into_iter();
        let mut verified = Vec::with_capacity(placed.len());
        // The end of the last chunk that is missing: nothing can be decoded upon bytes before it.
        let mut missing_until = 0;
        for placed in placed {
            let stored = match placed.chunk.origin {
                Origin::Stored => stored.next(),
                _ => None,
            };
            let decoded = if placed.builds_upon() < missing_until {
                Decoded::Missing
            } else {
                self.decode_chunk(&placed, stored)?
            };
            let number = placed.chunk.number;
            match decoded {
                Decoded::Verified => {
                    self.add_to_tree(&placed);
                    result.written.extend(self.written(&placed));
                    verified.push(placed);
                    continue;
                }
                Decoded::Missing => result.missing.push(number),
                Decoded::FailedDelta(error) => {
                    let chunk = number;
                    result.failed_deltas.push(FailedDelta { chunk, error });
                }
            }
            missing_until = placed.range.end;
        }
        Ok(verified)
    }

    fn decode_chunk(
        &mut self,
        placed: &Placed<'_>,
        stored: Option<Bytes>,
    ) -> Result<Decoded, ApplyError> {
        let Placed {
            chunk,
            entry,
            range,
        } = placed;
        let (before, into) = self.buffer[..range.end].split_at_mut(range.start);
        match chunk.origin {
            Origin::Stored => {
                let before = &before[before.len() - entry.before as usize..];
                let release = self.writer.release();
                let stored = StoredChunk::check(release, chunk.number, stored.unwrap_or_default())?;
                let delta_base = self.writer.delta_base();
                let read = |source, into: &mut [u8]| match (source, delta_base) {
                    (bundle::Source::Base(range), Some(base)) => base.read(range, into),
                    // The bytes before a chunk are in the buffer, and a repeat is written with its
                    // original.
                    _ => Err(io::ErrorKind::Unsupported.into()),
                };
                match self
                    .decoder
                    .decode_slice(release, &stored, before, into, read)
                {
                    Ok(()) => {
                        self.blocks.clear();
                        self.blocks.extend_from_slice(self.decoder.block_hashes());
                        Ok(Decoded::Verified)
                    }
                    // Its stored bytes are as signed, so the base is not.
                    Err(error) if matches!(entry.kind, ChunkKind::Delta { .. }) => {
                        Ok(Decoded::FailedDelta(error))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Origin::Zero => {
                into.fill(0);
                Ok(Decoded::Verified)
            }
            Origin::Composed(_) => {
                let is_verified = matches_digest(entry, into, &mut self.blocks);
                Ok(Decoded::verified_if(is_verified))
            }
            Origin::InPlace => {
                let location = self.writer.location(entry.image);
                let is_read = location.is_some_and(|location| {
                    location
                        .read(ReadFrom::Anywhere, entry.offset, into)
                        .is_ok()
                });
                let is_verified = is_read && matches_digest(entry, into, &mut self.blocks);
                Ok(Decoded::verified_if(is_verified))
            }
            Origin::Repeat(_) | Origin::Unwanted | Origin::FailedDelta => Ok(Decoded::Missing),
        }
    }

    /// Adds the block hashes of the chunk that was decoded last, for all its destinations.
    fn add_to_tree(&self, placed: &Placed<'_>) {
        if let Some(tree) = self.writer.tree() {
            let entries = self.writer.release().chunks();
            for number in placed.chunk.destinations() {
                tree.add(&entries[number], &self.blocks);
            }
        }
    }

    /// Returns the chunks that are written with the bytes of `placed`.
    fn written(&self, placed: &Placed<'_>) -> impl Iterator<Item = WrittenChunk> {
        let checksum = if self.checksums {
            checksum(&self.buffer[placed.range.clone()])
        } else {
            0
        };
        placed
            .chunk
            .destinations()
            .map(move |number| WrittenChunk { number, checksum })
    }

    /// Writes verified chunks, neighbours in one piece, and then their repeats.
    fn write_verified(&self, verified: &[Placed<'_>]) -> Result<(), ApplyError> {
        let Some(first) = verified.first() else {
            return Ok(());
        };
        // The range of the buffer and the offset in the image advance together.
        let base = first.entry.offset - first.range.start as u64;
        let image = first.entry.image;
        let write = |offset: u64, range: Range<usize>| {
            self.writer
                .write(image, offset, &self.buffer[range])
                .map_err(|error| self.write_error(image, error))
        };
        for range in joined_ranges(verified) {
            write(base + range.start as u64, range)?;
        }
        let chunks = self.writer.release().chunks();
        for placed in verified {
            for repeat in &placed.chunk.repeats {
                write(chunks[*repeat].offset, placed.range.clone())?;
            }
        }
        Ok(())
    }

    fn write_error(&self, image: usize, error: io::Error) -> ApplyError {
        ApplyError::Write {
            what: self.writer.name(image),
            error,
        }
    }
}

/// Returns the chunks of a batch with their ranges in the buffer, one after the other.
fn place<'a>(chunks: &'a [BatchChunk], entries: &'a [ChunkEntry]) -> Vec<Placed<'a>> {
    let mut end = 0;
    let place = |chunk: &'a BatchChunk| {
        let entry = &entries[chunk.number];
        let start = end;
        end += entry.len as usize;
        Placed {
            chunk,
            entry,
            range: start..end,
        }
    };
    chunks.iter().map(place).collect()
}

/// Returns the ranges of the buffer that are written to their own places.
fn joined_ranges(verified: &[Placed<'_>]) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for placed in verified.iter().filter(|placed| placed.chunk.is_written) {
        match joined.last_mut() {
            Some(last) if last.end == placed.range.start => last.end = placed.range.end,
            _ => joined.push(placed.range.clone()),
        }
    }
    joined
}

impl Placed<'_> {
    /// Returns the offset in the buffer of the first byte that the chunk is decoded from.
    fn builds_upon(&self) -> usize {
        match self.chunk.origin {
            Origin::Stored => self.range.start.saturating_sub(self.entry.before as usize),
            _ => self.range.start,
        }
    }
}
