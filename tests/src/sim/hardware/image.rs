//! The bytes of a disk. Zero pages take no memory, and copies share pages.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use twox_hash::XxHash3_64;

/// Unit of sharing and copying.
pub(crate) const PAGE: usize = 4096;
const PAGES: usize = 256;
const CHUNK: usize = PAGE * PAGES;

/// The content of a page that was not written.
static ZEROES: [u8; PAGE] = [0; PAGE];

#[derive(Clone, Debug)]
struct Page {
    bytes: Arc<[u8; PAGE]>,
    hash: u64,
}

type Chunk = Vec<Option<Page>>;

/// The content of a disk. A clone shares all pages; a write copies the pages that it changes.
#[derive(Clone, Debug)]
pub struct Image {
    chunks: Vec<Arc<Chunk>>,
    len: u64,
    hash: u64,
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.hash == other.hash
    }
}

impl Image {
    /// Returns a disk of `len` zero bytes, a multiple of 4096. *Pure.*
    #[must_use]
    pub fn new(len: u64) -> Self {
        let empty: Arc<Chunk> = Arc::new(vec![None; PAGES]);
        let chunks = vec![empty; len.div_ceil(CHUNK as u64) as usize];
        Self {
            chunks,
            len,
            hash: 0,
        }
    }

    /// Returns the content of a file, padded with zeroes to a multiple of 1 MiB. *Reads.*
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len().next_multiple_of(CHUNK as u64);
        let (mut image, mut chunk, mut at) = (Self::new(len), Vec::with_capacity(CHUNK), 0);
        loop {
            chunk.clear();
            let count = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
            if count == 0 {
                return Ok(image);
            }
            image.write(at, &chunk);
            at += count as u64;
        }
    }

    /// Writes a file with this content, with holes for zero pages. *Writes.*
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn to_file(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.len)?;
        for number in 0..self.chunks.len() * PAGES {
            if let Some(page) = self.page(number) {
                file.write_all_at(page.bytes.as_ref(), (number * PAGE) as u64)?;
            }
        }
        Ok(())
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// True if its length is zero.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A 64-bit hash of the content. *Pure.*
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash of the pages in `range` of bytes; both ends are multiples of 4096. *Pure.*
    #[must_use]
    pub fn hash_of(&self, range: std::ops::Range<u64>) -> u64 {
        let pages = range.start / PAGE as u64..range.end / PAGE as u64;
        pages
            .filter_map(|number| self.page(number as usize))
            .fold(0, |hash, page| hash ^ page.hash)
    }

    /// True if `len` bytes at `at` are inside the disk. *Pure.*
    #[must_use]
    pub fn holds(&self, at: u64, len: usize) -> bool {
        at.checked_add(len as u64)
            .is_some_and(|end| end <= self.len)
    }

    /// Reads bytes; the range must be inside the disk.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let (page, within, count) = span(at + done as u64, into.len() - done);
            let target = &mut into[done..done + count];
            match self.page(page) {
                Some(found) => target.copy_from_slice(&found.bytes[within..within + count]),
                None => target.fill(0),
            }
            done += count;
        }
    }

    /// Returns the `len` bytes at `at`; the range must be inside the disk. *Pure.*
    #[must_use]
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes);
        bytes
    }

    /// True if the bytes at `at` equal `bytes`; the range must be inside the disk. *Pure.*
    #[must_use]
    pub fn equals(&self, at: u64, bytes: &[u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within, count) = span(at + done as u64, bytes.len() - done);
            let there = self
                .page(page)
                .map_or(&ZEROES, |found| found.bytes.as_ref());
            if there[within..within + count] != bytes[done..done + count] {
                return false;
            }
            done += count;
        }
        true
    }

    /// Writes `data` at `at`; the range must be inside the disk.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (page, within, count) = span(at + done as u64, data.len() - done);
            self.put(page, within, &data[done..done + count]);
            done += count;
        }
    }

    fn page(&self, number: usize) -> Option<&Page> {
        self.chunks[number / PAGES][number % PAGES].as_ref()
    }

    fn put(&mut self, number: usize, within: usize, data: &[u8]) {
        let old = self.page(number);
        let there = old.map_or(&ZEROES, |page| page.bytes.as_ref());
        if there[within..within + data.len()] == *data {
            return;
        }
        let mut bytes = *there;
        bytes[within..within + data.len()].copy_from_slice(data);
        let old_hash = old.map_or(0, |page| page.hash);
        let new = (bytes != ZEROES).then(|| {
            let hash = XxHash3_64::oneshot_with_seed(number as u64, &bytes);
            Page {
                bytes: Arc::new(bytes),
                hash,
            }
        });
        self.hash ^= old_hash ^ new.as_ref().map_or(0, |page| page.hash);
        Arc::make_mut(&mut self.chunks[number / PAGES])[number % PAGES] = new;
    }
}

/// The page of an offset, the offset in the page, and the number of `len` bytes in it. *Pure.*
fn span(at: u64, len: usize) -> (usize, usize, usize) {
    let within = (at % PAGE as u64) as usize;
    ((at / PAGE as u64) as usize, within, len.min(PAGE - within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_bytes_and_equal_content_has_equal_hashes() {
        let mut image = Image::new(4 << 20);
        image.write(4000, &[7; 300]);
        let copy = image.clone();
        image.write(4100, &[9; 10]);
        assert_eq!(copy.bytes(4000, 300), [7; 300]);
        assert!(image.equals(4100, &[9; 10]) && !image.equals(4099, &[9; 10]));
        assert_ne!(image, copy);
        image.write(4100, &[7; 10]);
        assert_eq!(image, copy);
        image.write(4000, &[0; 300]);
        assert_eq!(image, Image::new(4 << 20));
        assert_ne!(copy.hash_of(0..4096), copy.hash_of(4096..8192));
    }

    #[test]
    fn a_file_holds_the_same() {
        let mut image = Image::new(4 << 20);
        image.write((2 << 20) - 100, &[7; 300]);
        let file = tempfile::NamedTempFile::new().unwrap();
        image.to_file(file.path()).unwrap();
        assert_eq!(Image::of_file(file.path()).unwrap(), image);
    }
}
