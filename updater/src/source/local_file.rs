//! A file that several threads read independently.

use super::error::SourceError;
use bytes::{Bytes, BytesMut};
use std::os::unix::fs::FileExt as _;

/// A file of this machine that holds a bundle.
pub struct LocalFile {
    /// The open file.
    pub file: std::fs::File,
    what: String,
}

impl LocalFile {
    /// Wraps `file`, which errors call `what`.
    pub(super) const fn new(file: std::fs::File, what: String) -> Self {
        Self { file, what }
    }

    /// Returns the `len` bytes at `offset`. *Reads.*
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn read(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let mut bytes = BytesMut::zeroed(len);
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| SourceError::Io {
            what: self.what.clone(),
            error,
        })?;
        Ok(bytes.freeze())
    }
}
