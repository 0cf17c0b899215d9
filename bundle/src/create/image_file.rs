//! An image file, read chunk by chunk. Holes of a sparse file are not read.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A part of an image.
pub(crate) struct Piece {
    /// Length in bytes.
    pub(crate) len: u32,
    /// Its content; `None` in a hole of a sparse file.
    pub(crate) data: Option<Vec<u8>>,
}

/// An image file, and how far it has been read.
pub(crate) struct ImageFile {
    file: File,
    size: u64,
    at: u64,
    /// The range of data that contains `at`, or the next one after it; empty at first.
    data: Range<u64>,
}

impl ImageFile {
    /// Opens a file or a block device. *Reads* its size.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Takes an open file. *Reads* its size.
    pub(crate) fn new(mut file: File) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            size,
            at: 0,
            data: 0..0,
        })
    }

    /// Returns the size in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next `chunk_size` bytes, fewer at the end, `None` after it. *Reads.*
    pub(crate) fn next(&mut self, chunk_size: u32) -> io::Result<Option<Piece>> {
        let len = (self.size - self.at).min(u64::from(chunk_size)) as u32;
        if len == 0 {
            return Ok(None);
        }
        let end = self.at + u64::from(len);
        if self.data.end <= self.at {
            self.data = self.next_data()?;
        }
        let data = if self.data.start < end {
            let mut data = vec![0; len as usize];
            self.file.read_exact_at(&mut data, self.at)?;
            Some(data)
        } else {
            None
        };
        self.at = end;
        Ok(Some(Piece { len, data }))
    }

    /// Returns the first range of data at or after `at`. File systems without holes report that
    /// everything is data.
    fn next_data(&self) -> io::Result<Range<u64>> {
        use rustix::fs::{SeekFrom, seek};
        let start = match seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(self.size..u64::MAX),
            // Block devices and some file systems have no holes.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                return Ok(self.at..u64::MAX);
            }
            Err(error) => return Err(error.into()),
        };
        match seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(start..end.max(start + 1)),
            Err(_) => Ok(start..u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_of_a_sparse_file_has_no_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        file.as_file().write_all_at(b"data", 300 << 10).unwrap();
        let mut image = ImageFile::open(file.path()).unwrap();
        let mut kinds = Vec::new();
        while let Some(piece) = image.next(64 << 10).unwrap() {
            kinds.push(piece.data.is_some());
        }
        assert_eq!(kinds.len(), 16);
        assert_eq!(kinds.iter().position(|data| *data), Some(4));
        assert_eq!(kinds.iter().filter(|data| **data).count(), 1);
    }
}
