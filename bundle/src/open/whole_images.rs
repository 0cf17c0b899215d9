//! Digests of whole images while their chunks are checked one by one.

use crate::format::index::ChunkKind;
use crate::format::manifest::ImageRole;
use crate::format::zeroes::hash_zeroes;
use crate::open::error::OpenError;
use crate::read::release::Release;
use crate::verity::digest::digest_into;
use crate::verity::{BLOCK, Hash, Layout, TreeBuilder};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Most bytes that are kept for the repeats of a release while it is checked.
pub const MAX_KEPT: usize = 24 << 20;

/// Chunks that will be repeated.
pub(crate) struct Kept<'a> {
    release: &'a Release,
    last_repeat: HashMap<usize, usize>,
    chunks: HashMap<usize, Vec<u8>>,
    len: usize,
}

impl<'a> Kept<'a> {
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

    /// The bytes of a chunk, its own or those that it repeats; `None` for zeroes and where they are
    /// not known.
    pub(crate) fn bytes_of<'b>(&'b self, number: usize, own: Option<&'b [u8]>) -> Option<&'b [u8]> {
        match self.release.chunk(number)?.kind {
            ChunkKind::Repeat { chunk } => self.chunks.get(&chunk).map(Vec::as_slice),
            _ => own,
        }
    }

    pub(crate) fn keep(&mut self, number: usize, own: Option<&[u8]>) {
        if let Some(own) = own.filter(|_| self.last_repeat.contains_key(&number))
            && self.len.saturating_add(own.len()) <= MAX_KEPT
        {
            self.len = self.len.saturating_add(own.len());
            self.chunks.insert(number, own.to_vec());
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

/// Digests of whole images, as their chunks come in order.
pub(crate) struct WholeImages<'a> {
    release: &'a Release,
    hash: Sha256,
    /// The hash tree over the root image, if its root hash is signed.
    tree: Option<TreeBuilder>,
    blocks: Vec<Hash>,
    known: bool,
}

impl<'a> WholeImages<'a> {
    pub(crate) fn new(release: &'a Release) -> Self {
        let root = release.statement().root;
        Self {
            release,
            hash: Sha256::new(),
            tree: root.map(|root| TreeBuilder::new(Layout::new(root.len))),
            blocks: Vec::new(),
            known: true,
        }
    }

    /// Takes the bytes of a chunk; `None` for zeroes, and where they are not known.
    pub(crate) fn add(&mut self, number: usize, bytes: Option<&[u8]>) -> Result<(), OpenError> {
        let Some(entry) = self.release.chunk(number) else {
            return Ok(());
        };
        let Some(image) = self.release.images().get(entry.image) else {
            return Ok(());
        };
        if let Some(tree) = self.tree.as_mut().filter(|_| image.role == ImageRole::Root) {
            let first = entry.offset / BLOCK;
            match bytes {
                Some(bytes) => {
                    digest_into(bytes, &mut self.blocks);
                    drop(tree.insert(first, &self.blocks));
                }
                None if entry.kind == ChunkKind::Zero => {
                    let count = u64::from(entry.len).div_ceil(BLOCK);
                    drop(tree.insert_zeroes(first, count));
                }
                None => {}
            }
        }
        match bytes {
            Some(bytes) => self.hash.update(bytes),
            None if entry.kind == ChunkKind::Zero => hash_zeroes(&mut self.hash, entry.len),
            None => self.known = false,
        }
        if number.saturating_add(1) == image.chunks.end {
            let found: [u8; 32] = self.hash.finalize_reset().into();
            let is_known = std::mem::replace(&mut self.known, true);
            if is_known && found != image.sha256 {
                return Err(OpenError::ImageDigest {
                    image: image.role,
                    expected: image.sha256,
                    found,
                });
            }
            if is_known && image.role == ImageRole::Root {
                self.check_root_hash()?;
            }
        }
        Ok(())
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
