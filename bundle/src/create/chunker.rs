//! Splits an image into segments: zeroes, and runs of chunks that are compressed together.

use crate::create::image_file::{ImageFile, Piece};
use crate::format::zeroes::hash_zeroes;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::io;
use twox_hash::XxHash3_64;

/// Maximum length of a run that is created, in bytes. Longer runs hardly compress better, and a
/// machine decodes a whole run at once.
pub(crate) const RUN_LEN: u32 = 512 << 10;

/// A segment of an image.
pub(crate) enum Segment {
    /// So many zeroes.
    Zeroes(u32),
    /// The bytes of consecutive chunks with content.
    Run(Vec<u8>),
}

/// Splits an image into segments. The result depends only on its content and the chunk size.
pub(crate) struct Chunker {
    image: ImageFile,
    chunk_size: u32,
    run_len: u32,
    /// Hashes of all chunks so far. A chunk that occurred before is a run of its own, because it
    /// will be stored as a repeat.
    seen: HashSet<u64>,
    /// A chunk that was read but did not fit into the last segment.
    pending: Option<Classified>,
    digest: Sha256,
}

/// A chunk, by what it means for the run before it.
enum Classified {
    Zeroes(u32),
    New(Vec<u8>),
    Seen(Vec<u8>),
}

impl Chunker {
    /// Returns a chunker of `image` with chunks of `chunk_size` bytes. Unless `chained`, each chunk
    /// is a run of its own.
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
            pending: None,
            digest: Sha256::new(),
        }
    }

    /// Returns the size of the image in bytes.
    pub(crate) const fn image_size(&self) -> u64 {
        self.image.size()
    }

    /// Returns the maximum length of a chunk with content, in bytes.
    pub(crate) const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Returns the next segment; `None` at the end. *Reads.*
    pub(crate) fn next(&mut self) -> io::Result<Option<Segment>> {
        let run_len = self.run_len as usize;
        let mut run = Vec::new();
        loop {
            let next = match self.pending.take() {
                Some(pending) => Some(pending),
                None => self.read()?,
            };
            match next {
                Some(Classified::Zeroes(len)) if run.is_empty() => {
                    return Ok(Some(Segment::Zeroes(len)));
                }
                Some(Classified::Seen(data)) if run.is_empty() => {
                    return Ok(Some(Segment::Run(data)));
                }
                Some(Classified::New(data)) if run.is_empty() => {
                    run = data;
                    run.reserve_exact(run_len.saturating_sub(run.len()));
                }
                Some(Classified::New(data)) if run.len() + data.len() <= run_len => {
                    run.extend_from_slice(&data);
                }
                other => {
                    self.pending = other;
                    return Ok((!run.is_empty()).then_some(Segment::Run(run)));
                }
            }
        }
    }

    /// Returns the SHA-256 of all bytes that were read.
    pub(crate) fn digest(self) -> [u8; 32] {
        self.digest.finalize().into()
    }

    fn read(&mut self) -> io::Result<Option<Classified>> {
        let Some(Piece { len, data }) = self.image.next(self.chunk_size)? else {
            return Ok(None);
        };
        let Some(data) = data.filter(|data| !is_zero(data)) else {
            hash_zeroes(&mut self.digest, len);
            return Ok(Some(Classified::Zeroes(len)));
        };
        self.digest.update(&data);
        let is_new = self.seen.insert(XxHash3_64::oneshot(&data));
        Ok(Some(if is_new {
            Classified::New(data)
        } else {
            Classified::Seen(data)
        }))
    }
}

fn is_zero(data: &[u8]) -> bool {
    // Compares the bytes with themselves, shifted by one: as fast as memcmp.
    data.first() == Some(&0) && data[1..] == data[..data.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Returns the segments of an image: z for zeroes, else the number of chunks of a run.
    fn shape(image: &[u8], chained: bool) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(image).unwrap();
        let mut chunker = Chunker::new(ImageFile::open(file.path()).unwrap(), 4096, chained);
        let mut shape = Vec::new();
        while let Some(segment) = chunker.next().unwrap() {
            shape.push(match segment {
                Segment::Zeroes(_) => "z".to_owned(),
                Segment::Run(data) => data.len().div_ceil(4096).to_string(),
            });
        }
        assert_eq!(chunker.digest(), <[u8; 32]>::from(Sha256::digest(image)));
        shape.join(" ")
    }

    fn chunk(number: u16) -> Vec<u8> {
        number.to_le_bytes().repeat(2048)
    }

    #[test]
    fn a_run_ends_before_zeroes_and_repeats_and_at_its_maximum_length() {
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
