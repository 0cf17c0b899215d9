//! How chunks are compressed: the same bytes on every machine, with any number of threads and
//! wherever they lie in memory.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::io;
use zstd::zstd_safe::{self, CCtx, CParameter, ParamSwitch, Strategy};

/// Compresses chunks; keeps its memory from one chunk to the next. One for each thread.
pub struct Encoder {
    level: i32,
    alone: CCtx<'static>,
    /// For the first chunks of runs of small chunks.
    first: CCtx<'static>,
    buffer: Vec<u8>,
}

impl Encoder {
    /// An encoder of zstd's `level`.
    ///
    /// # Errors
    /// The library's own words, if it does not know the level.
    pub fn new(level: i32) -> io::Result<Self> {
        let (alone, mut first) = (context(level)?, context(level)?);
        set(&mut first, small_search(level))?;
        Ok(Self {
            level,
            alone,
            first,
            buffer: Vec::new(),
        })
    }

    /// One zstd frame of `bytes`, or `None` if it would not be shorter than they are. *Pure*: the
    /// same bytes give the same chunk.
    ///
    /// # Errors
    /// The library's own words.
    pub fn compress(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        compress_with(&mut self.alone, &mut self.buffer, bytes)
    }

    /// One zstd frame for each `chunk_size` bytes of `run`, which builds upon up to `window` bytes
    /// of it before; `None` for those that would not be shorter. *Pure*: the same bytes give the
    /// same chunks.
    ///
    /// # Errors
    /// The library's own words.
    pub fn compress_run(
        &mut self,
        run: &[u8],
        chunk_size: usize,
        window: usize,
    ) -> io::Result<Vec<Option<Vec<u8>>>> {
        if run.len() <= chunk_size {
            return Ok(vec![self.compress(run)?]);
        }
        let small = chunk_size.saturating_add(window) <= SMALL;
        // One context for a run: it may refer to bytes only while they stay where they are.
        let mut rest = context(self.level)?;
        set(&mut rest, small_search(self.level).filter(|_| small))?;
        let mut chunks = Vec::new();
        for start in (0..run.len()).step_by(chunk_size.max(1)) {
            let (before, bytes) = run.split_at_checked(start).unwrap_or_default();
            let bytes = bytes.get(..chunk_size).unwrap_or(bytes);
            let before = before
                .get(before.len().saturating_sub(window)..)
                .unwrap_or_default();
            let buffer = &mut self.buffer;
            chunks.push(match start {
                0 if small => compress_with(&mut self.first, buffer, bytes)?,
                0 => compress_with(&mut self.alone, buffer, bytes)?,
                _ => {
                    rest.ref_prefix(before).map_err(zstd_io)?;
                    compress_with(&mut rest, buffer, bytes)?
                }
            });
        }
        Ok(chunks)
    }

    /// As [`Encoder::compress`], of what follows the first `prefix_len` bytes of `buffer`, which
    /// may refer to these. *Pure*: it is one buffer because zstd makes other bytes, and takes
    /// longer, where the prefix does not lie directly before what is compressed.
    ///
    /// # Errors
    /// The library's own words.
    pub fn compress_upon(
        &mut self,
        buffer: &[u8],
        prefix_len: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let (prefix, bytes) = buffer.split_at_checked(prefix_len).unwrap_or((buffer, &[]));
        let mut context = context(self.level)?;
        let window = usize::BITS.saturating_sub(buffer.len().leading_zeros());
        set(&mut context, [[CParameter::WindowLog(window.max(10))]])?;
        context.ref_prefix(prefix).map_err(zstd_io)?;
        compress_with(&mut context, &mut self.buffer, bytes)
    }
}

/// Chunks that have at most this many bytes to search, themselves and before them, are searched as
/// [`small_search`] says.
const SMALL: usize = 128 << 10;

/// How chunks of a run are searched at the levels at which most of the time goes into filling
/// tables with the bytes before a chunk. The zstd library means its rows of tags for long inputs:
/// here a table of hashes and chains behind it are filled in half the time, and what is found in
/// them is as short. The first chunk of a run likewise. docs/decisions/0102-runs.md has the
/// figures.
fn small_search(level: i32) -> Option<[CParameter; 5]> {
    let (strategy, search_log) = match level {
        5 => (Strategy::ZSTD_greedy, 4),
        6 => (Strategy::ZSTD_greedy, 5),
        7..=9 => (Strategy::ZSTD_lazy, level.unsigned_abs().saturating_sub(5)),
        10 => (Strategy::ZSTD_lazy2, 5),
        _ => return None,
    };
    Some([
        CParameter::Strategy(strategy),
        CParameter::SearchLog(search_log),
        CParameter::HashLog(SMALL.ilog2()),
        CParameter::ChainLog(SMALL.ilog2()),
        CParameter::UseRowMatchFinder(ParamSwitch::Disable),
    ])
}

fn context<'a>(level: i32) -> io::Result<CCtx<'a>> {
    let mut context = CCtx::create();
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ];
    set(&mut context, [parameters])?;
    Ok(context)
}

fn set<const N: usize>(
    context: &mut CCtx<'_>,
    parameters: impl IntoIterator<Item = [CParameter; N]>,
) -> io::Result<()> {
    for parameter in parameters.into_iter().flatten() {
        context.set_parameter(parameter).map_err(zstd_io)?;
    }
    Ok(())
}

/// A chunk of `bytes`, if it is shorter than they are; `buffer` is memory to work in.
fn compress_with(
    context: &mut CCtx<'_>,
    buffer: &mut Vec<u8>,
    bytes: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    buffer.clear();
    buffer.reserve(zstd_safe::compress_bound(bytes.len()));
    let len = context.compress2(buffer, bytes).map_err(zstd_io)?;
    Ok((len < bytes.len()).then(|| buffer.clone()))
}

fn zstd_io(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    const CHUNK: usize = 16 << 10;
    const WINDOW: usize = 64 << 10;

    /// Bytes of which some are like others near and far, and some like none; others for each seed.
    fn bytes(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut state = [seed; 32];
        while bytes.len() < len {
            state = Sha256::digest(state).into();
            bytes.extend_from_slice(&state[..usize::from(state[0] % 32)]);
            let far = usize::from(u16::from_le_bytes([state[1], state[2]]));
            let start = bytes.len().saturating_sub(far);
            let end = (start + usize::from(state[3] % 64)).min(bytes.len());
            bytes.extend_from_within(start..end);
        }
        bytes.truncate(len);
        bytes
    }

    fn noise(len: u32) -> Vec<u8> {
        (0..len / 32)
            .flat_map(|block| <[u8; 32]>::from(Sha256::digest(block.to_le_bytes())))
            .collect()
    }

    /// All that an encoder makes of a run, and of its parts on their own.
    fn made(encoder: &mut Encoder, run: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut chunks = encoder.compress_run(run, CHUNK, WINDOW).unwrap();
        chunks.extend(encoder.compress_run(run, 4 * CHUNK, 4 * WINDOW).unwrap());
        chunks.extend(encoder.compress_run(run, CHUNK, 0).unwrap());
        chunks.push(encoder.compress(run).unwrap());
        chunks.push(encoder.compress_upon(run, run.len() / 3).unwrap());
        chunks
    }

    #[test]
    fn neither_what_was_compressed_before_nor_the_place_in_memory_alters_a_byte() {
        let runs = [
            bytes(1, 200 << 10),
            bytes(2, 3 * CHUNK + 77),
            bytes(3, CHUNK),
        ];
        // Each kind of search that zstd has: fast, double, greedy, lazy, lazy2, btlazy2, btopt,
        // btultra, btultra2.
        for level in [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 19] {
            let fresh = runs
                .each_ref()
                .map(|run| made(&mut Encoder::new(level).unwrap(), run));
            let mut used = Encoder::new(level).unwrap();
            for (shift, which) in [(0, 2), (1, 0), (13, 1), (64, 0), (4095, 2), (7, 1)] {
                // In front of it and behind it lie bytes that a search must not see.
                let mut shifted = bytes(9, shift);
                shifted.extend_from_slice(&runs[which]);
                shifted.extend_from_slice(&runs[which]);
                let run = &shifted[shift..][..runs[which].len()];
                assert_eq!(
                    made(&mut used, run),
                    fresh[which],
                    "level {level}, run {which} at {shift}"
                );
            }
        }
    }

    #[test]
    fn chunks_of_a_run_refer_to_as_much_as_they_may_and_no_further() {
        // Noise that comes again after 48 KiB: found in a window of 64 KiB, and not in one of 32.
        let run = noise(48 << 10).repeat(2);
        for level in [3, 9, 19] {
            let len = |window: usize| -> usize {
                let chunks = Encoder::new(level)
                    .unwrap()
                    .compress_run(&run, CHUNK, window)
                    .unwrap();
                assert_eq!(chunks.len(), run.len() / CHUNK);
                chunks
                    .into_iter()
                    .map(|chunk| chunk.map_or(CHUNK, |chunk| chunk.len()))
                    .sum()
            };
            let (near, far) = (len(32 << 10), len(64 << 10));
            assert!(
                far < near * 6 / 10,
                "level {level}: {near} bytes, {far} with the longer window"
            );
        }
    }

    #[test]
    fn what_does_not_become_shorter_is_not_compressed() {
        let noise = noise(4096);
        let mut encoder = Encoder::new(9).unwrap();
        assert_eq!(encoder.compress(&noise).unwrap(), None);
        assert_eq!(
            encoder
                .compress_upon(&[b"before".as_slice(), &noise].concat(), 6)
                .unwrap(),
            None
        );
        let chunks = encoder
            .compress_run(&noise.repeat(2), noise.len(), noise.len())
            .unwrap();
        assert!(matches!(chunks.as_slice(), [None, Some(again)] if again.len() < 64));
    }
}
