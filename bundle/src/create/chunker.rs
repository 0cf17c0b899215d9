//! An image cut into runs: stretches of chunks that are compressed one upon the other.

use crate::create::image_file::{ImageFile, Piece};
use crate::format::zeroes::hash_zeroes;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::io;
use twox_hash::XxHash3_64;

/// Longest run that is made, in bytes: longer ones hardly compress better, and whole runs are what
/// machines work on.
pub(crate) const RUN_LEN: u32 = 512 << 10;

/// A stretch of an image.
pub(crate) enum Stretch {
    /// That many zeroes.
    Zeroes(u32),
    /// Chunks with content, one behind the other.
    Run(Vec<u8>),
}

/// Cuts an image into stretches. The cuts depend on its content and the chunk size alone.
pub(crate) struct Runs {
    image: ImageFile,
    chunk_size: u32,
    run_len: u32,
    /// Hashes of all chunks so far. A chunk that was there before stands alone, since it will be
    /// stored as a repeat.
    seen: HashSet<u64>,
    /// A piece that was read and did not fit what was handed out.
    held: Option<Next>,
    whole: Sha256,
}

enum Next {
    Zeroes(u32),
    Fresh(Vec<u8>),
    Seen(Vec<u8>),
}

impl Runs {
    /// Stretches of `image`, in chunks of `chunk_size` bytes; each chunk is a run of its own unless
    /// `chained`.
    pub(crate) fn new(image: ImageFile, chunk_size: u32, chained: bool) -> Self {
        let run_len = if chained {
            RUN_LEN.max(chunk_size)
        } else {
            chunk_size
        };
        Self {
            image,
            chunk_size,
            run_len,
            seen: HashSet::new(),
            held: None,
            whole: Sha256::new(),
        }
    }

    /// The next stretch; `None` at the end. *Reads.*
    pub(crate) fn next(&mut self) -> io::Result<Option<Stretch>> {
        let mut run = Vec::new();
        loop {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => self.read()?,
            };
            match next {
                Some(Next::Zeroes(len)) if run.is_empty() => return Ok(Some(Stretch::Zeroes(len))),
                Some(Next::Seen(data)) if run.is_empty() => return Ok(Some(Stretch::Run(data))),
                Some(Next::Fresh(data)) if run.is_empty() => {
                    run = data;
                    run.reserve_exact((self.run_len as usize).saturating_sub(run.len()));
                }
                Some(Next::Fresh(data)) if run.len() + data.len() <= self.run_len as usize => {
                    run.extend_from_slice(&data);
                }
                rest => {
                    self.held = rest;
                    return Ok((!run.is_empty()).then_some(Stretch::Run(run)));
                }
            }
        }
    }

    /// SHA-256 of all that was read.
    pub(crate) fn digest(self) -> [u8; 32] {
        self.whole.finalize().into()
    }

    fn read(&mut self) -> io::Result<Option<Next>> {
        let Some(Piece { len, data }) = self.image.next(self.chunk_size)? else {
            return Ok(None);
        };
        let Some(data) = data.filter(|data| !is_zero(data)) else {
            hash_zeroes(&mut self.whole, len);
            return Ok(Some(Next::Zeroes(len)));
        };
        self.whole.update(&data);
        let fresh = self.seen.insert(XxHash3_64::oneshot(&data));
        Ok(Some(if fresh {
            Next::Fresh(data)
        } else {
            Next::Seen(data)
        }))
    }
}

fn is_zero(data: &[u8]) -> bool {
    // Compares the bytes with themselves, one further: as fast as memcmp.
    data.first() == Some(&0) && data[1..] == data[..data.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// The stretches of an image, in chunks: z zeroes, digits runs of that many chunks.
    fn shape(image: &[u8], chained: bool) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(image).unwrap();
        let mut runs = Runs::new(ImageFile::open(file.path()).unwrap(), 4096, chained);
        let mut shape = Vec::new();
        while let Some(stretch) = runs.next().unwrap() {
            shape.push(match stretch {
                Stretch::Zeroes(_) => "z".to_owned(),
                Stretch::Run(data) => data.len().div_ceil(4096).to_string(),
            });
        }
        assert_eq!(runs.digest(), <[u8; 32]>::from(Sha256::digest(image)));
        shape.join(" ")
    }

    fn chunk(number: u16) -> Vec<u8> {
        number.to_le_bytes().repeat(2048)
    }

    #[test]
    fn zeroes_repeats_and_length_end_a_run() {
        let image = [
            chunk(1),
            chunk(2),
            vec![0; 8192],
            chunk(3),
            chunk(2),
            chunk(4),
            b"end".to_vec(),
        ]
        .concat();
        assert_eq!(shape(&image, true), "2 z z 1 1 2");
        assert_eq!(shape(&image, false), "1 1 z z 1 1 1 1");
        let long: Vec<u8> = (1..=600).flat_map(chunk).collect();
        assert_eq!(shape(&long, true), "128 128 128 128 88");
    }
}
