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
use crate::verity::Hash;
use crate::verity::digest;
use bytes::Bytes;
use seal::field::get;
use sha2::{Digest as _, Sha256};

/// The stored bytes of a chunk as they came, not yet checked against the index.
#[derive(Clone, Debug)]
pub struct UncheckedChunk {
    pub(crate) number: usize,
    pub(crate) bytes: Bytes,
}

/// The stored bytes of a chunk whose digest is that of the index; empty for zeroes and repeats.
#[derive(Clone, Debug)]
pub struct StoredChunk {
    number: usize,
    bytes: Bytes,
    blocks: Vec<Hash>,
}

impl UncheckedChunk {
    /// The chunk's number.
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
    /// Takes the stored bytes of chunk `number`, from wherever they came, if they are what the
    /// index says. *Pure.*
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
            // Raw bytes are the image's own: they have a chunk's digest, all of which is known.
            let (found, right) = match entry.kind {
                ChunkKind::Raw => {
                    let found = digest::digest_into(&bytes, &mut blocks);
                    (found, found == entry.sha256)
                }
                _ => {
                    let found: [u8; 32] = Sha256::digest(&bytes).into();
                    (found, found.starts_with(&entry.stored_digest))
                }
            };
            if !right {
                let (expected, found) = (entry.stored_digest, get(&found, 0));
                return Err(ReadError::ChunkDigest {
                    image,
                    chunk: number,
                    expected,
                    found,
                });
            }
        }
        Ok(Self {
            number,
            bytes,
            blocks,
        })
    }

    /// The chunk's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The stored bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Hashes of its blocks, of a raw chunk.
    pub(crate) fn blocks(&self) -> &[Hash] {
        &self.blocks
    }
}
