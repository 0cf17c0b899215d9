//! Digests of whole images while their chunks are checked one by one.

use crate::format::index::ChunkKind;
use crate::format::zeroes::hash_zeroes;
use crate::open::error::OpenError;
use crate::read::release::Release;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Maximum number of bytes that are kept for the repeats of a release while it is checked.
pub const MAX_KEPT: usize = 24 << 20;

/// Bytes of chunks that a later chunk repeats.
pub(crate) struct RepeatedChunks<'a> {
    release: &'a Release,
    /// For each chunk that is repeated, the last chunk that repeats it.
    last_repeat: HashMap<usize, usize>,
    chunks: HashMap<usize, Vec<u8>>,
    len: usize,
}

impl<'a> RepeatedChunks<'a> {
    pub(crate) fn new(release: &'a Release) -> Self {
        let repeats = release
            .chunks()
            .iter()
            .enumerate()
            .filter_map(|(number, entry)| match entry.kind {
                ChunkKind::Repeat { chunk } => Some((chunk, number)),
                _ => None,
            });
        Self {
            release,
            last_repeat: repeats.collect(),
            chunks: HashMap::new(),
            len: 0,
        }
    }

    /// Returns the bytes of a chunk: `decoded`, or those of the chunk that it repeats; `None` for
    /// zeroes and for chunks that could not be decoded.
    pub(crate) fn bytes_of<'b>(
        &'b self,
        number: usize,
        decoded: Option<&'b [u8]>,
    ) -> Option<&'b [u8]> {
        match self.release.chunk(number)?.kind {
            ChunkKind::Repeat { chunk } => self.chunks.get(&chunk).map(Vec::as_slice),
            _ => decoded,
        }
    }

    /// Keeps the bytes of a chunk that will be repeated, and drops those that will not be any more.
    pub(crate) fn keep(&mut self, number: usize, decoded: Option<&[u8]>) {
        if let Some(bytes) = decoded.filter(|_| self.last_repeat.contains_key(&number))
            && self.len.saturating_add(bytes.len()) <= MAX_KEPT
        {
            self.len = self.len.saturating_add(bytes.len());
            self.chunks.insert(number, bytes.to_vec());
        }
        if let Some(ChunkKind::Repeat { chunk }) =
            self.release.chunk(number).map(|entry| entry.kind)
            && self.last_repeat.get(&chunk) == Some(&number)
            && let Some(bytes) = self.chunks.remove(&chunk)
        {
            self.len = self.len.saturating_sub(bytes.len());
        }
    }
}

/// Digests of whole images, from their chunks in order.
pub(crate) struct ImageDigests<'a> {
    release: &'a Release,
    hash: Sha256,
    /// False once bytes of the image are missing.
    complete: bool,
}

impl<'a> ImageDigests<'a> {
    pub(crate) fn new(release: &'a Release) -> Self {
        Self {
            release,
            hash: Sha256::new(),
            complete: true,
        }
    }

    /// Adds the bytes of the next chunk; `None` for zeroes and for a chunk that could not be
    /// decoded. Checks the digest of an image after its last chunk, if all bytes were there.
    pub(crate) fn add(&mut self, number: usize, bytes: Option<&[u8]>) -> Result<(), OpenError> {
        let Some(entry) = self.release.chunk(number) else {
            return Ok(());
        };
        let Some(image) = self.release.images().get(entry.image) else {
            return Ok(());
        };
        match bytes {
            Some(bytes) => self.hash.update(bytes),
            None if entry.kind == ChunkKind::Zero => hash_zeroes(&mut self.hash, entry.len),
            None => self.complete = false,
        }
        if number.saturating_add(1) == image.chunks.end {
            let found: [u8; 32] = self.hash.finalize_reset().into();
            if std::mem::replace(&mut self.complete, true) && found != image.sha256 {
                return Err(OpenError::ImageDigest {
                    image: image.role,
                    expected: image.sha256,
                    found,
                });
            }
        }
        Ok(())
    }
}
