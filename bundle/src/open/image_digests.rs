//! Digests of whole images while their chunks are checked one by one.

use crate::format::index::{ChunkEntry, ChunkKind};
use crate::format::manifest::ImageRole;
use crate::format::zeroes::hash_zeroes;
use crate::open::error::OpenError;
use crate::read::release::Release;
use crate::verity::digest::digest_into;
use crate::verity::{BLOCK, Hash, Layout, TreeBuilder};
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
    /// The hash tree of the root image, if its root hash is signed.
    tree: Option<TreeBuilder>,
    blocks: Vec<Hash>,
    /// False once bytes of the image are missing.
    complete: bool,
}

impl<'a> ImageDigests<'a> {
    pub(crate) fn new(release: &'a Release) -> Self {
        let root = release.statement().root;
        Self {
            release,
            hash: Sha256::new(),
            tree: root.map(|root| TreeBuilder::new(Layout::new(root.len))),
            blocks: Vec::new(),
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
        if image.role == ImageRole::Root {
            self.add_to_tree(entry, bytes);
        }
        match bytes {
            Some(bytes) => self.hash.update(bytes),
            None if entry.kind == ChunkKind::Zero => hash_zeroes(&mut self.hash, entry.len),
            None => self.complete = false,
        }
        if number.saturating_add(1) == image.chunks.end {
            let found: [u8; 32] = self.hash.finalize_reset().into();
            let is_complete = std::mem::replace(&mut self.complete, true);
            if is_complete && found != image.sha256 {
                return Err(OpenError::ImageDigest {
                    image: image.role,
                    expected: image.sha256,
                    found,
                });
            }
            if is_complete && image.role == ImageRole::Root {
                self.check_root_hash()?;
            }
        }
        Ok(())
    }

    fn add_to_tree(&mut self, entry: &ChunkEntry, bytes: Option<&[u8]>) {
        let Some(tree) = &mut self.tree else {
            return;
        };
        let first = entry.offset / BLOCK;
        if let Some(bytes) = bytes {
            digest_into(bytes, &mut self.blocks);
            drop(tree.insert(first, &self.blocks));
        } else if entry.kind == ChunkKind::Zero {
            drop(tree.insert_zeroes(first, u64::from(entry.len).div_ceil(BLOCK)));
        }
    }

    fn check_root_hash(&mut self) -> Result<(), OpenError> {
        let (Some(tree), Some(root)) = (self.tree.take(), self.release.statement().root) else {
            return Ok(());
        };
        // All blocks of the image were known; a tree that lacks one has no root hash.
        let found = tree.finish().map_or([0; 32], |(_, root_hash)| root_hash);
        if found == root.root_hash {
            return Ok(());
        }
        Err(OpenError::RootHash {
            expected: root.root_hash,
            found,
        })
    }
}
