//! One frame: how it is compressed, and how its authenticated stored bytes become the image's bytes again.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::hex;
use crate::index::{BaseRange, FrameKind};
use crate::manifest::ImageRole;
use crate::read::StoredFrame;
use crate::release::Release;
use sha2::{Digest as _, Sha256};
use std::io;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// Bytes that a frame needs besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The uncompressed bytes of an earlier frame of the same release.
    Frame(usize),
    /// A piece of an image of the base release.
    Base(BaseRange),
}

/// Why authenticated stored bytes do not become the frame that the index promises.
#[derive(Debug, thiserror::Error)]
#[error("image {image}: frame {frame}: {fault}")]
pub struct DecodeError {
    /// The frame's image.
    pub image: ImageRole,
    /// The frame's number.
    pub frame: usize,
    /// What is wrong.
    pub fault: DecodeFault,
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DecodeFault {
    #[error("not a frame of this release")]
    Foreign,
    #[error("stored as zstd, but {0}")]
    Header(HeaderFault),
    #[error("decompression failed: {0}")]
    Zstd(&'static str),
    #[error("decompresses to {found} bytes, expected {expected}")]
    Length { found: u64, expected: u64 },
    #[error("digest mismatch: expected {}, got {}", hex(expected), hex(found))]
    Digest { expected: [u8; 32], found: [u8; 32] },
    #[error("reading what it builds upon: {0}")]
    Fetch(io::Error),
}

/// Why compressed bytes are not the kind of zstd frame that a bundle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum HeaderFault {
    #[error("does not begin with the number of a zstd frame")]
    Magic,
    #[error("does not promise its length in one segment, so that its window is not bounded by it")]
    Window,
    #[error("asks for a dictionary")]
    Dictionary,
    #[error("promises {found} bytes, expected {expected}")]
    ContentSize { found: u64, expected: u64 },
    #[error("is {found} bytes long, {stored} are stored: frames were joined or cut")]
    Joined { found: u64, stored: u64 },
}

/// Decompresses frames; keeps its memory from one frame to the next. One for each thread.
pub struct Decoder {
    context: DCtx<'static>,
    prefix: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { context: DCtx::create(), prefix: Vec::new() }
    }
}

impl Decoder {
    /// The uncompressed bytes of `frame` in `into`, which is resized to them, checked against the SHA-256 of the index. *Pure*
    /// save for `fetch`, which fills a buffer with what a repeat or a delta builds upon and is called for nothing else.
    ///
    /// # Errors
    /// [`DecodeError`]; the contents of `into` are then undefined.
    pub fn decode(
        &mut self,
        release: &Release,
        frame: &StoredFrame,
        into: &mut Vec<u8>,
        fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        into.resize(release.frame(frame.number()).map_or(0, |entry| entry.len as usize), 0);
        self.decode_into(release, frame, into, fetch)
    }

    /// As [`Decoder::decode`], into a slice that must be as long as the frame is uncompressed.
    ///
    /// # Errors
    /// [`DecodeError`]; the contents of `into` are then undefined.
    pub fn decode_into(
        &mut self,
        release: &Release,
        frame: &StoredFrame,
        into: &mut [u8],
        fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        let number = frame.number();
        let entry = release.frame(number);
        let role = entry.and_then(|entry| release.images().get(entry.image)).map(|image| image.role);
        self.decode_frame(release, frame, into, fetch).map_err(|fault| DecodeError {
            image: role.unwrap_or(ImageRole::Boot),
            frame: number,
            fault,
        })
    }

    fn decode_frame(
        &mut self,
        release: &Release,
        frame: &StoredFrame,
        into: &mut [u8],
        mut fetch: impl FnMut(Source, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), DecodeFault> {
        let entry = release.frame(frame.number()).ok_or(DecodeFault::Foreign)?;
        let stored = frame.bytes();
        if stored.len() as u64 != u64::from(entry.stored_len) || into.len() as u64 != u64::from(entry.len) {
            return Err(DecodeFault::Foreign);
        }
        match entry.kind {
            FrameKind::Zero => {
                // The index was checked to hold the digest of that many zeroes.
                into.fill(0);
                return Ok(());
            }
            FrameKind::Raw => into.copy_from_slice(stored),
            FrameKind::Repeat { frame } => {
                fetch(Source::Frame(frame), into).map_err(DecodeFault::Fetch)?;
            }
            FrameKind::Zstd => {
                check_header(stored, u64::from(entry.len)).map_err(DecodeFault::Header)?;
                let len = self.context.decompress(into, stored);
                check_len(len, into.len())?;
            }
            FrameKind::Delta { .. } => {
                check_header(stored, u64::from(entry.len)).map_err(DecodeFault::Header)?;
                self.prefix.clear();
                for range in release.base_ranges(entry) {
                    let start = self.prefix.len();
                    self.prefix.resize(start.saturating_add(range.len as usize), 0);
                    let piece = self.prefix.get_mut(start..).unwrap_or_default();
                    fetch(Source::Base(*range), piece).map_err(DecodeFault::Fetch)?;
                }
                let mut context = DCtx::create();
                context.ref_prefix(&self.prefix).map_err(zstd_fault)?;
                check_len(context.decompress(into, stored), into.len())?;
            }
        }
        // For raw frames the index fixes that this digest is the one already checked.
        if entry.kind != FrameKind::Raw {
            let found: [u8; 32] = Sha256::digest(&*into).into();
            if found != entry.sha256 {
                return Err(DecodeFault::Digest { expected: entry.sha256, found });
            }
        }
        Ok(())
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
        Err(DecodeFault::Length { found: found as u64, expected: expected as u64 })
    }
}

/// Whether `stored` is exactly one zstd frame (RFC 8878, section 3.1.1) in a single segment of `len` bytes, without
/// a dictionary. *Pure.* A single segment makes the window as long as the frame: no larger window can be asked for.
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
    let found = zstd_safe::get_frame_content_size(stored).ok().flatten().unwrap_or(0);
    if found != len {
        return Err(HeaderFault::ContentSize { found, expected: len });
    }
    let found = zstd_safe::find_frame_compressed_size(stored).unwrap_or(0) as u64;
    if found != stored.len() as u64 {
        return Err(HeaderFault::Joined { found, stored: stored.len() as u64 });
    }
    Ok(())
}

/// Compresses frames; keeps its memory from one frame to the next. One for each thread.
pub struct Encoder {
    context: CCtx<'static>,
    level: i32,
    buffer: Vec<u8>,
}

impl Encoder {
    /// An encoder of zstd's `level`.
    ///
    /// # Errors
    /// The library's own words, if it does not know the level.
    pub fn new(level: i32) -> io::Result<Self> {
        let mut context = CCtx::create();
        for parameter in parameters(level) {
            context.set_parameter(parameter).map_err(zstd_io)?;
        }
        Ok(Self { context, level, buffer: Vec::new() })
    }

    /// One zstd frame of `bytes`, or `None` if it would not be shorter than they are. *Pure*: the same bytes give the same frame.
    ///
    /// # Errors
    /// The library's own words.
    pub fn compress(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let result = compress_into(&mut self.context, &mut self.buffer, bytes)?;
        Ok(result.then(|| self.buffer.clone()))
    }

    /// As [`Encoder::compress`], with `prefix` in front of what may be referred to.
    ///
    /// # Errors
    /// The library's own words.
    pub fn compress_with_prefix(&mut self, bytes: &[u8], prefix: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut context = CCtx::create();
        for parameter in parameters(self.level) {
            context.set_parameter(parameter).map_err(zstd_io)?;
        }
        let window = usize::BITS.saturating_sub(prefix.len().saturating_add(bytes.len()).leading_zeros());
        context.set_parameter(CParameter::WindowLog(window.max(10))).map_err(zstd_io)?;
        context.ref_prefix(prefix).map_err(zstd_io)?;
        let result = compress_into(&mut context, &mut self.buffer, bytes)?;
        Ok(result.then(|| self.buffer.clone()))
    }
}

fn parameters(level: i32) -> [CParameter; 4] {
    [
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ]
}

fn compress_into(context: &mut CCtx<'_>, buffer: &mut Vec<u8>, bytes: &[u8]) -> io::Result<bool> {
    buffer.clear();
    buffer.reserve(zstd_safe::compress_bound(bytes.len()));
    let len = context.compress2(buffer, bytes).map_err(zstd_io)?;
    Ok(len < bytes.len())
}

fn zstd_io(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}
