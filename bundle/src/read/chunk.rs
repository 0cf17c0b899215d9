//! The stored bytes of a chunk, before and after their digest is checked.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::index::ChunkKind;
use crate::format::manifest::ImageRole;
use crate::read::error::ReadError;
use crate::read::release::Release;
use crate::verity::{Hash, digest};
use bytes::Bytes;
use seal::field::get;
use sha2::{Digest as _, Sha256};

/// The stored bytes of a chunk, not yet checked against the index.
#[derive(Clone, Debug)]
pub struct UncheckedChunk {
    pub(crate) number: usize,
    pub(crate) bytes: Bytes,
}

/// The stored bytes of a chunk, checked against the index; empty for zeroes and repeats.
#[derive(Clone, Debug)]
pub struct StoredChunk {
    number: usize,
    bytes: Bytes,
    blocks: Vec<Hash>,
}

impl UncheckedChunk {
    /// Returns the chunk's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Checks the stored bytes against the index. *Pure.*
    ///
    /// # Errors
    /// [`ReadError::ChunkDigest`].
    pub fn check(self, release: &Release) -> Result<StoredChunk, ReadError> {
        StoredChunk::check(release, self.number, self.bytes)
    }
}

impl StoredChunk {
    /// Checks the stored bytes of chunk `number` against the index. *Pure.* They may come from any
    /// source.
    ///
    /// # Errors
    /// [`ReadError::NoChunk`], [`ReadError::ChunkLength`] or [`ReadError::ChunkDigest`].
    pub fn check(release: &Release, number: usize, bytes: Bytes) -> Result<Self, ReadError> {
        let chunks = release.chunks().len();
        let entry = release.chunk(number).ok_or(ReadError::NoChunk {
            chunk: number,
            chunks,
        })?;
        let image = release
            .images()
            .get(entry.image)
            .map_or(ImageRole::Boot, |image| image.role);
        let (found, expected) = (bytes.len() as u64, u64::from(entry.stored_len));
        if found != expected {
            return Err(ReadError::ChunkLength {
                image,
                chunk: number,
                found,
                expected,
            });
        }
        let mut blocks = Vec::new();
        if expected > 0 {
            // Raw bytes are bytes of the image, of which the index has the whole digest.
            let (found, matches) = if entry.kind == ChunkKind::Raw {
                let found = digest::digest_into(&bytes, &mut blocks);
                (found, found == entry.sha256)
            } else {
                let found: [u8; 32] = Sha256::digest(&bytes).into();
                (found, found.starts_with(&entry.stored_digest))
            };
            if !matches {
                return Err(ReadError::ChunkDigest {
                    image,
                    chunk: number,
                    expected: entry.stored_digest,
                    found: get(&found, 0),
                });
            }
        }
        Ok(Self {
            number,
            bytes,
            blocks,
        })
    }

    /// Returns the hashes of its blocks if it is raw.
    pub(crate) fn blocks(&self) -> &[Hash] {
        &self.blocks
    }

    /// Returns the chunk's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Returns the stored bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
