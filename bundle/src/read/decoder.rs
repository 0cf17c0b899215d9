//! Decoding of one chunk: authenticated stored bytes in, bytes of the image out.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::index::{BaseRange, ChunkKind};
use crate::format::limits::BLOCK_LEN;
use crate::format::manifest::ImageRole;
use crate::read::chunk::StoredChunk;
use crate::read::error::{DecodeError, DecodeFault, HeaderFault};
use crate::read::release::Release;
use crate::verity::{Hash, digest};
use std::io;
use zstd::zstd_safe::{self, DCtx};

/// Bytes that a chunk refers to, besides its stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The uncompressed bytes of an earlier chunk of the same release.
    Chunk(usize),
    /// A range of an image of the base release.
    Base(BaseRange),
    /// The bytes of the image directly before a chunk of a run.
    Before {
        /// The image: an index into [`Release::images`].
        image: usize,
        /// Offset of the first of them in the image, in bytes.
        offset: u64,
    },
}

/// Decodes chunks. Keeps its memory from one chunk to the next; each thread needs its own.
pub struct Decoder {
    context: DCtx<'static>,
    prefix: Vec<u8>,
    blocks: Vec<Hash>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            context: DCtx::create(),
            prefix: Vec::new(),
            blocks: Vec::new(),
        }
    }
}

impl Decoder {
    /// Decodes `chunk` into `into`, which is resized to its length, and checks the result against
    /// the SHA-256 of the index. *Pure* except for `fetch`, which fills a buffer with bytes that
    /// the chunk refers to. [`Decoder::decode_slice`] is faster for a whole run.
    ///
    /// # Errors
    /// [`DecodeError`]; the contents of `into` are then undefined.
    pub fn decode(
        &mut self,
        release: &Release,
        chunk: &StoredChunk,
        into: &mut Vec<u8>,
        mut fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        let (before, len) = release
            .chunk(chunk.number())
            .map_or((0, 0), |entry| (entry.before, entry.len));
        if before == 0 {
            into.resize(len as usize, 0);
            return self.decode_slice(release, chunk, &[], into, fetch);
        }
        let mut run = vec![0; before.saturating_add(len) as usize];
        let (head, own) = run
            .split_at_mut_checked(before as usize)
            .unwrap_or_default();
        let (image, offset) = release
            .chunk(chunk.number())
            .map_or((0, 0), |entry| (entry.image, entry.offset));
        fetch(
            Source::Before {
                image,
                offset: offset.saturating_sub(u64::from(before)),
            },
            head,
        )
        .map_err(|error| fault(release, chunk.number(), DecodeFault::Fetch(error)))?;
        self.decode_slice(release, chunk, head, own, fetch)?;
        into.clear();
        into.extend_from_slice(own);
        Ok(())
    }

    /// As [`Decoder::decode`], into a buffer of exactly the chunk's length. `before` are the bytes
    /// of the image directly before the chunk, as many as the index says
    /// ([`ChunkEntry::before`](crate::ChunkEntry::before)). Fastest if `before` ends in memory
    /// where `into` begins, as when all chunks of a run are decoded into one buffer.
    ///
    /// # Errors
    /// [`DecodeError`]; the contents of `into` are then undefined.
    pub fn decode_slice(
        &mut self,
        release: &Release,
        chunk: &StoredChunk,
        before: &[u8],
        into: &mut [u8],
        fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        self.decode_chunk(release, chunk, before, into, fetch)
            .map_err(|what| fault(release, chunk.number(), what))
    }

    /// Hashes of the blocks of the chunk that was decoded last: what the hash tree over its image
    /// begins with. *Pure.* Of no use after an error.
    #[must_use]
    pub fn block_hashes(&self) -> &[Hash] {
        &self.blocks
    }

    fn decode_chunk(
        &mut self,
        release: &Release,
        chunk: &StoredChunk,
        before: &[u8],
        into: &mut [u8],
        mut fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeFault> {
        let entry = release.chunk(chunk.number()).ok_or(DecodeFault::Foreign)?;
        let stored = chunk.bytes();
        if stored.len() as u64 != u64::from(entry.stored_len) {
            return Err(DecodeFault::Foreign);
        }
        check_buffer("preceding bytes", before.len(), entry.before)?;
        check_buffer("output buffer", into.len(), entry.len)?;
        match entry.kind {
            ChunkKind::Zero => {
                // Decoding the index checked that this is the digest of so many zeroes.
                into.fill(0);
                self.blocks.clear();
                let count = into.len().div_ceil(BLOCK_LEN as usize);
                self.blocks.resize(count, *digest::ZERO_BLOCK);
                return Ok(());
            }
            ChunkKind::Raw => {
                // `StoredChunk::check` compared their whole digest.
                into.copy_from_slice(stored);
                self.blocks.clear();
                self.blocks.extend_from_slice(chunk.blocks());
                return Ok(());
            }
            ChunkKind::Repeat { chunk } => {
                fetch(Source::Chunk(chunk), into).map_err(DecodeFault::Fetch)?;
            }
            ChunkKind::Zstd => {
                check_header(stored, u64::from(entry.len)).map_err(DecodeFault::Header)?;
                check_len(
                    decompress(&mut self.context, into, stored, before),
                    into.len(),
                )?;
            }
            ChunkKind::Delta { .. } => {
                check_header(stored, u64::from(entry.len)).map_err(DecodeFault::Header)?;
                self.prefix.clear();
                for range in release.base_ranges(entry) {
                    let start = self.prefix.len();
                    self.prefix
                        .resize(start.saturating_add(range.len as usize), 0);
                    let added = self.prefix.get_mut(start..).unwrap_or_default();
                    fetch(Source::Base(*range), added).map_err(DecodeFault::Fetch)?;
                }
                self.prefix.extend_from_slice(before);
                check_len(
                    decompress(&mut self.context, into, stored, &self.prefix),
                    into.len(),
                )?;
            }
        }
        let found = digest::digest_into(into, &mut self.blocks);
        if found == entry.sha256 {
            Ok(())
        } else {
            Err(DecodeFault::Digest {
                expected: entry.sha256,
                found,
            })
        }
    }
}

/// Decompresses one frame with the prefix `prefix`, which may begin with any bytes.
fn decompress(
    context: &mut DCtx<'static>,
    into: &mut [u8],
    stored: &[u8],
    prefix: &[u8],
) -> Result<usize, usize> {
    /// zstd takes a prefix that begins like this for a dictionary with its own tables (RFC 8878,
    /// section 5), unless it is set by `ref_prefix`.
    const DICTIONARY: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
    if prefix.starts_with(&DICTIONARY) {
        let mut context = DCtx::create();
        context.ref_prefix(prefix)?;
        return context.decompress(into, stored);
    }
    if prefix.is_empty() {
        return context.decompress(into, stored);
    }
    context.decompress_using_dict(into, stored, prefix)
}

fn fault(release: &Release, number: usize, fault: DecodeFault) -> DecodeError {
    let entry = release.chunk(number);
    let image = entry.and_then(|entry| release.images().get(entry.image));
    DecodeError {
        image: image.map_or(ImageRole::Boot, |image| image.role),
        chunk: number,
        fault,
    }
}

fn check_buffer(of: &'static str, found: usize, expected: u32) -> Result<(), DecodeFault> {
    let (found, expected) = (found as u64, u64::from(expected));
    if found == expected {
        Ok(())
    } else {
        Err(DecodeFault::Buffer {
            of,
            found,
            expected,
        })
    }
}

fn zstd_fault(code: usize) -> DecodeFault {
    DecodeFault::Zstd(zstd_safe::get_error_name(code))
}

fn check_len(result: Result<usize, usize>, expected: usize) -> Result<(), DecodeFault> {
    let found = result.map_err(zstd_fault)?;
    if found == expected {
        Ok(())
    } else {
        Err(DecodeFault::Length {
            found: found as u64,
            expected: expected as u64,
        })
    }
}

/// Checks that `stored` is exactly one zstd frame (RFC 8878, section 3.1.1) in a single segment of
/// `len` bytes, without a dictionary. *Pure.* The window of a single segment is as long as its
/// content, so a frame cannot demand a larger one.
///
/// # Errors
/// [`HeaderFault`].
pub fn check_header(stored: &[u8], len: u64) -> Result<(), HeaderFault> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    const SINGLE_SEGMENT: u8 = 0x20;
    const DICTIONARY: u8 = 0x03;
    if stored.get(..4) != Some(&MAGIC) {
        return Err(HeaderFault::Magic);
    }
    let descriptor = stored.get(4).copied().unwrap_or_default();
    if descriptor & SINGLE_SEGMENT == 0 {
        return Err(HeaderFault::Window);
    }
    if descriptor & DICTIONARY != 0 {
        return Err(HeaderFault::Dictionary);
    }
    let found = zstd_safe::get_frame_content_size(stored)
        .ok()
        .flatten()
        .unwrap_or(0);
    if found != len {
        return Err(HeaderFault::ContentSize {
            found,
            expected: len,
        });
    }
    let found = zstd_safe::find_frame_compressed_size(stored).unwrap_or(0) as u64;
    if found != stored.len() as u64 {
        return Err(HeaderFault::Joined {
            found,
            stored: stored.len() as u64,
        });
    }
    Ok(())
}
