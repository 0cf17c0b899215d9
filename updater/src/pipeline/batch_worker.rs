//! What a worker does with a batch: verify, decompress, verify, write.

use crate::batch::{Batch, Origin, Part};
use crate::error::ApplyError;
use crate::pipeline::chunk_source::Order;
use crate::scan::seeds::Composition;
use crate::slot::delta_base::Lost;
use crate::slot::hash::checksum;
use crate::slot::hash::matches_digest;
use crate::slot::image_location::Reading;
use crate::slot::writer::Sinks;
use bootctl::device::AlignedBuffer;
use bundle::verity::Hash;
use bundle::{ChunkKind, DecodeError, Decoder, StoredChunk};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What one thread works with: memory for one batch, from one to the next.
pub(crate) struct Hand {
    sinks: Arc<Sinks>,
    composition: Arc<Composition>,
    decoder: Decoder,
    plain: AlignedBuffer,
    /// Hashes of the blocks of the chunk that was made last.
    blocks: Vec<Hash>,
    /// Whether anybody will ask for checksums.
    sums: bool,
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Done {
    /// Chunks that are in their place now, with a checksum of their bytes if one is wanted.
    pub(crate) written: Vec<(usize, u64)>,
    /// Chunks that the disk did not have after all: they must be fetched.
    pub(crate) failed: Vec<usize>,
    /// Chunks that could not be made of the base.
    pub(crate) lost: Vec<Lost>,
}

/// What came of a chunk.
enum Found {
    /// Its bytes, verified.
    Made,
    /// The disk did not have what it seemed to have.
    Missing,
    /// The base did not have what it should.
    Lost(DecodeError),
}

impl Found {
    const fn made(made: bool) -> Self {
        if made { Self::Made } else { Self::Missing }
    }
}

impl Hand {
    pub(crate) fn new(sinks: &Arc<Sinks>, composition: &Arc<Composition>, sums: bool) -> Self {
        let (sinks, composition) = (Arc::clone(sinks), Arc::clone(composition));
        Self {
            sinks,
            composition,
            decoder: Decoder::default(),
            plain: AlignedBuffer::default(),
            blocks: Vec::new(),
            sums,
        }
    }

    /// Verifies the stored bytes of a batch, and does no more.
    pub(crate) fn verify(&self, mut order: Order) -> Result<u64, ApplyError> {
        let release = self.sinks.release();
        let stored = order.take(release)?;
        let bytes = stored.iter().map(|bytes| bytes.len() as u64).sum();
        for (chunk, bytes) in crate::batch::stored(&order.batch).zip(stored) {
            StoredChunk::check(release, chunk, bytes)?;
        }
        Ok(bytes)
    }

    /// Brings the chunks of a batch to their places. *Writes*; durable only after a flush.
    pub(crate) fn write(&mut self, mut order: Order) -> Result<Done, ApplyError> {
        let stored = order.take(self.sinks.release())?;
        match order.batch {
            Batch::Zeroes(chunks) => self.write_zeroes(chunks),
            Batch::Chunks(parts) => {
                let done = self.fill(&parts, stored)?;
                self.write_parts(&parts, &done)?;
                if let Some(tree) = self.sinks.places().tree() {
                    tree.write_complete()?;
                }
                Ok(done)
            }
        }
    }

    fn write_zeroes(&self, chunks: Range<usize>) -> Result<Done, ApplyError> {
        let entries = &self.sinks.release().chunks()[chunks.clone()];
        let count = entries.iter().map(|chunk| u64::from(chunk.len)).sum();
        if let Some(first) = entries.first() {
            let written = self.sinks.write_zeroes(first.image, first.offset, count);
            written.map_err(|error| self.write_error(first.image, error))?;
        }
        if let Some(tree) = self.sinks.places().tree() {
            entries.iter().for_each(|chunk| tree.learn(chunk, &[]));
            tree.write_complete()?;
        }
        Ok(Done {
            written: chunks.map(|chunk| (chunk, 0)).collect(),
            ..Done::default()
        })
    }

    /// Makes the bytes of all parts, one after the other in memory as on the disk.
    fn fill(&mut self, parts: &[Part], stored: Vec<Bytes>) -> Result<Done, ApplyError> {
        let places = self.places(parts);
        self.plain
            .resize(places.last().map_or(0, |place| place.end));
        let composed = parts
            .iter()
            .zip(&places)
            .filter_map(|(part, place)| match part.origin {
                Origin::Composed(first) => Some((first, place.clone())),
                _ => None,
            });
        self.composition
            .compose(&composed.collect::<Vec<_>>(), &mut self.plain);
        let mut stored = stored.into_iter();
        let mut done = Done::default();
        // What the disk did not have: nothing that builds upon it can be decoded.
        let mut lacking: Vec<Range<usize>> = Vec::new();
        for (part, place) in parts.iter().zip(&places) {
            let bytes = if part.origin == Origin::Stored {
                stored.next()
            } else {
                None
            };
            let before = self.sinks.release().chunks()[part.chunk].before as usize;
            let upon = if part.origin == Origin::Stored {
                place.start.saturating_sub(before)
            } else {
                place.start
            };
            let found = if lacking.iter().any(|lacks| lacks.end > upon) {
                Found::Missing
            } else {
                self.fill_part(part, bytes, place)?
            };
            match found {
                Found::Made => {}
                Found::Missing => {
                    lacking.push(place.clone());
                    done.failed.push(part.chunk);
                    continue;
                }
                Found::Lost(error) => {
                    lacking.push(place.clone());
                    done.lost.push(Lost {
                        chunk: part.chunk,
                        error,
                    });
                    continue;
                }
            }
            let sum = if self.sums {
                checksum(&self.plain[place.clone()])
            } else {
                0
            };
            if let Some(tree) = self.sinks.places().tree() {
                for chunk in part.places() {
                    tree.learn(&self.sinks.release().chunks()[chunk], &self.blocks);
                }
            }
            done.written.extend(part.places().map(|chunk| (chunk, sum)));
        }
        Ok(done)
    }

    fn fill_part(
        &mut self,
        part: &Part,
        stored: Option<Bytes>,
        place: &Range<usize>,
    ) -> Result<Found, ApplyError> {
        let release = self.sinks.release();
        let chunk = &release.chunks()[part.chunk];
        let (before, into) = self.plain[..place.end].split_at_mut(place.start);
        match part.origin {
            Origin::Stored => {
                let stored = StoredChunk::check(release, part.chunk, stored.unwrap_or_default())?;
                let basis = self.sinks.basis();
                let fetch = |source, into: &mut [u8]| match (source, basis) {
                    (bundle::Source::Base(range), Some(basis)) => basis.read(range, into),
                    // The chunks of a run lie one behind the other, and a repeat is made of the
                    // chunk that it repeats.
                    _ => Err(io::ErrorKind::Unsupported.into()),
                };
                let before = &before[before.len() - chunk.before as usize..];
                match self
                    .decoder
                    .decode_slice(release, &stored, before, into, fetch)
                {
                    Ok(()) => {
                        self.blocks.clear();
                        self.blocks.extend_from_slice(self.decoder.block_hashes());
                        Ok(Found::Made)
                    }
                    // Its own bytes are as signed: it is the base that is not.
                    Err(error) if matches!(chunk.kind, ChunkKind::Delta { .. }) => {
                        Ok(Found::Lost(error))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Origin::Zero => {
                into.fill(0);
                Ok(Found::Made)
            }
            Origin::Composed(_) => {
                let made = matches_digest(chunk, into, &mut self.blocks);
                Ok(Found::made(made))
            }
            Origin::Held => {
                let held = self
                    .sinks
                    .place(chunk.image)
                    .map(|held| held.read(Reading::Anywhere, chunk.offset, into));
                Ok(Found::made(
                    matches!(held, Some(Ok(()))) && matches_digest(chunk, into, &mut self.blocks),
                ))
            }
            Origin::Repeat(_) | Origin::Unwanted | Origin::Lost => Ok(Found::Missing),
        }
    }

    /// Writes what was made, neighbours in one piece.
    fn write_parts(&self, parts: &[Part], done: &Done) -> Result<(), ApplyError> {
        let chunks = self.sinks.release().chunks();
        let mut own: Vec<Range<usize>> = Vec::new();
        let places = self.places(parts);
        let made = |part: &Part| {
            !done.failed.contains(&part.chunk)
                && !done.lost.iter().any(|lost| lost.chunk == part.chunk)
        };
        for (part, place) in parts.iter().zip(&places).filter(|(part, _)| made(part)) {
            match own.last_mut() {
                _ if !part.own => {}
                Some(last) if last.end == place.start => last.end = place.end,
                _ => own.push(place.clone()),
            }
        }
        let Some(first) = parts.first().map(|part| &chunks[part.chunk]) else {
            return Ok(());
        };
        let error = |error| self.write_error(first.image, error);
        for piece in own {
            let offset = first.offset + piece.start as u64;
            self.sinks
                .write(first.image, offset, &self.plain[piece])
                .map_err(error)?;
        }
        for (part, place) in parts.iter().zip(&places).filter(|(part, _)| made(part)) {
            for also in &part.also {
                let offset = chunks[*also].offset;
                self.sinks
                    .write(first.image, offset, &self.plain[place.clone()])
                    .map_err(error)?;
            }
        }
        Ok(())
    }

    /// Where the parts of a batch lie in memory.
    fn places(&self, parts: &[Part]) -> Vec<Range<usize>> {
        let chunks = self.sinks.release().chunks();
        let mut end = 0;
        let place = |part: &Part| {
            let start = end;
            end += chunks[part.chunk].len as usize;
            start..end
        };
        parts.iter().map(place).collect()
    }

    fn write_error(&self, image: usize, error: io::Error) -> ApplyError {
        ApplyError::Write {
            what: self.sinks.name(image),
            error,
        }
    }
}
