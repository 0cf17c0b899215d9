//! Compression of chunks. The result is the same on every machine, with any number of threads and
//! at any address in memory.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::io;
use zstd::zstd_safe::{self, CCtx, CParameter, ParamSwitch, Strategy};

/// Compresses chunks. Keeps its memory from one chunk to the next; each thread needs its own.
pub struct Encoder {
    level: i32,
    /// For chunks on their own.
    single: CCtx<'static>,
    /// For the first chunks of runs of small chunks.
    first: CCtx<'static>,
    buffer: Vec<u8>,
}

impl Encoder {
    /// Returns an encoder for this level of zstd.
    ///
    /// # Errors
    /// The error of the zstd library for an invalid level.
    pub fn new(level: i32) -> io::Result<Self> {
        let mut first = context(level)?;
        set(&mut first, small_search(level))?;
        Ok(Self {
            level,
            single: context(level)?,
            first,
            buffer: Vec::new(),
        })
    }

    /// Returns one zstd frame of `bytes`, or `None` if it would not be shorter. *Pure.* Depends
    /// only on `bytes` and the level.
    ///
    /// # Errors
    /// The error of the zstd library.
    pub fn compress(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        compress_into(&mut self.single, &mut self.buffer, bytes)
    }

    /// Returns one zstd frame for each `chunk_size` bytes of `run`, which may refer to up to
    /// `window` bytes of the run before it; `None` for chunks that would not be shorter. *Pure.*
    /// Depends only on the arguments and the level.
    ///
    /// # Errors
    /// The error of the zstd library.
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
        // A context of its own for each run, because it may refer to bytes only as long as they are
        // not moved.
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
                0 if small => compress_into(&mut self.first, buffer, bytes)?,
                0 => compress_into(&mut self.single, buffer, bytes)?,
                _ => {
                    rest.ref_prefix(before).map_err(zstd_io)?;
                    compress_into(&mut rest, buffer, bytes)?
                }
            });
        }
        Ok(chunks)
    }

    /// As [`Encoder::compress`], of the bytes after the first `prefix_len` bytes of `buffer`; the
    /// frame may refer to the prefix. *Pure.* Both are in one buffer because zstd is slower, and
    /// its result differs, if the prefix is not directly before the bytes to compress.
    ///
    /// # Errors
    /// The error of the zstd library.
    pub fn compress_with_prefix(
        &mut self,
        buffer: &[u8],
        prefix_len: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let (prefix, bytes) = buffer.split_at_checked(prefix_len).unwrap_or((buffer, &[]));
        let mut context = context(self.level)?;
        let window = usize::BITS.saturating_sub(buffer.len().leading_zeros());
        set(&mut context, [[CParameter::WindowLog(window.max(10))]])?;
        context.ref_prefix(prefix).map_err(zstd_io)?;
        compress_into(&mut context, &mut self.buffer, bytes)
    }
}

/// Maximum number of bytes, of a chunk and before it, that are searched with the parameters of
/// [`small_search`].
const SMALL: usize = 128 << 10;

/// Returns search parameters for chunks of a run, at the levels that spend most time on filling
/// tables with the bytes before a chunk. The row-based match finder of zstd is made for long
/// inputs: for short ones a table of hash chains is filled in half the time, and the result is as
/// short. The first chunk of a run uses the same. Figures: docs/decisions/0102-runs.md.
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

/// Returns a frame of `bytes`, if it is shorter; `buffer` is memory to work in.
fn compress_into(
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

    /// Returns bytes that partly repeat others near and far; different ones for each seed.
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

    /// Returns the results of all methods of an encoder for a run.
    fn all_results(encoder: &mut Encoder, run: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut chunks = encoder.compress_run(run, CHUNK, WINDOW).unwrap();
        chunks.extend(encoder.compress_run(run, 4 * CHUNK, 4 * WINDOW).unwrap());
        chunks.extend(encoder.compress_run(run, CHUNK, 0).unwrap());
        chunks.push(encoder.compress(run).unwrap());
        chunks.push(encoder.compress_with_prefix(run, run.len() / 3).unwrap());
        chunks
    }

    #[test]
    fn the_result_depends_neither_on_earlier_chunks_nor_on_the_address() {
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
                .map(|run| all_results(&mut Encoder::new(level).unwrap(), run));
            let mut used = Encoder::new(level).unwrap();
            for (shift, which) in [(0, 2), (1, 0), (13, 1), (64, 0), (4095, 2), (7, 1)] {
                // Bytes before and after the run must not be found by a search.
                let mut shifted = bytes(9, shift);
                shifted.extend_from_slice(&runs[which]);
                shifted.extend_from_slice(&runs[which]);
                let run = &shifted[shift..][..runs[which].len()];
                assert_eq!(
                    all_results(&mut used, run),
                    fresh[which],
                    "level {level}, run {which} at {shift}"
                );
            }
        }
    }

    #[test]
    fn chunks_of_a_run_refer_to_the_whole_window_and_not_further() {
        // Noise that repeats after 48 KiB: found in a window of 64 KiB, not in one of 32 KiB.
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
    fn a_chunk_that_does_not_become_shorter_is_not_compressed() {
        let noise = noise(4096);
        let mut encoder = Encoder::new(9).unwrap();
        assert_eq!(encoder.compress(&noise).unwrap(), None);
        assert_eq!(
            encoder
                .compress_with_prefix(&[b"before".as_slice(), &noise].concat(), 6)
                .unwrap(),
            None
        );
        let chunks = encoder
            .compress_run(&noise.repeat(2), noise.len(), noise.len())
            .unwrap();
        assert!(matches!(chunks.as_slice(), [None, Some(again)] if again.len() < 64));
    }
}
