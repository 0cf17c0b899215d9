//! The hash tree of a root image while the image is written: block hashes come in, pieces of the
//! tree are written behind the image.

use super::image_location::{ImageLocation, ReadFrom};
use crate::error::{ApplyError, ReadBackError};
use bootctl::device::{AlignedBuffer, BlockDevice};
use bundle::verity::{self, BLOCK, Hash, Layout, TreeBuilder, TreeError, TreePiece};
use bundle::{ChunkEntry, ChunkKind};
use seal::VerifiedRoot;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Bytes per read.
const READ_LEN: u64 = 1 << 20;

/// The hash tree of the root image of a slot that is written.
pub(crate) struct RootTree {
    image: usize,
    root: VerifiedRoot,
    location: ImageLocation,
    growing: Mutex<Growing>,
}

struct Growing {
    /// `None` after the tree was finished.
    builder: Option<TreeBuilder>,
    /// Complete pieces that are not written yet.
    complete: Vec<TreePiece>,
}

impl RootTree {
    /// Returns a tree without any block. `image` is the number of the root image.
    pub(crate) fn new(image: usize, root: VerifiedRoot, location: ImageLocation) -> Self {
        let growing = Growing {
            builder: Some(TreeBuilder::new(Layout::new(root.len))),
            complete: Vec::new(),
        };
        Self {
            image,
            root,
            location,
            growing: Mutex::new(growing),
        }
    }

    /// Adds the block hashes of a verified chunk. Those of a zero chunk are known.
    pub(crate) fn add(&self, chunk: &ChunkEntry, hashes: &[Hash]) {
        if chunk.image != self.image {
            return;
        }
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(builder) = &mut growing.builder else {
            return;
        };
        let first = chunk.offset / BLOCK;
        let pieces = match chunk.kind {
            ChunkKind::Zero => builder.insert_zeroes(first, u64::from(chunk.len).div_ceil(BLOCK)),
            _ => builder.insert(first, hashes),
        };
        growing.complete.extend(pieces);
    }

    /// Writes the complete pieces. *Writes*; durable after a flush.
    ///
    /// # Errors
    /// [`ApplyError::Write`].
    ///
    /// # Power loss
    /// Any piece may be missing. The slot is Unbootable at this time.
    pub(crate) fn write_complete(&self) -> Result<(), ApplyError> {
        let complete = {
            let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut growing.complete)
        };
        complete.iter().try_for_each(|piece| self.write(piece))
    }

    /// Compares the root hash with the signed one, and writes the rest of the tree. *Writes*; durable
    /// after a flush.
    ///
    /// # Errors
    /// [`ApplyError::RootHash`], [`ApplyError::Write`].
    ///
    /// # Power loss
    /// As [`RootTree::write_complete`].
    pub(crate) fn finish(&self) -> Result<(), ApplyError> {
        self.write_complete()?;
        let builder = {
            let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
            growing.builder.take()
        };
        let Some(builder) = builder else {
            return Ok(());
        };
        let padding = builder.layout().superblock_offset() - self.root.len;
        let Ok((piece, found)) = builder.finish() else {
            // Each chunk of the image is verified by now: a tree that lacks a block is of another
            // image.
            return Err(self.root_hash_error([0; 32]));
        };
        if found != self.root.root_hash {
            return Err(self.root_hash_error(found));
        }
        self.write(&TreePiece {
            offset: self.root.len,
            bytes: vec![0; padding as usize],
        })?;
        self.write(&piece)
    }

    const fn root_hash_error(&self, found: Hash) -> ApplyError {
        ApplyError::RootHash {
            expected: self.root.root_hash,
            found,
        }
    }

    fn write(&self, piece: &TreePiece) -> Result<(), ApplyError> {
        self.location
            .window
            .write_at(piece.offset, &piece.bytes)
            .map_err(|error| ApplyError::Write {
                what: self.location.partition.as_str(),
                error,
            })
    }

    /// Compares the tree on the medium with the signed root hash. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::ReadBack`].
    pub(crate) fn read_back(&self) -> Result<(), ApplyError> {
        let partition = self.location.partition;
        check_tree(&self.location, &self.root).map_err(|error| {
            let offset = error.offset();
            let error = match error {
                TreeError::Io { error, .. } => ReadBackError::Io {
                    partition,
                    offset,
                    error,
                },
                _ => ReadBackError::Differs { partition, offset },
            };
            error.into()
        })
    }
}

/// Compares the hash tree behind a root image on the medium with a root hash. *Reads.*
///
/// # Errors
/// The first place that is wrong, or cannot be read.
pub(crate) fn check_tree(location: &ImageLocation, root: &VerifiedRoot) -> Result<(), TreeError> {
    let layout = Layout::new(root.len);
    verity::check(&layout, &root.root_hash, |offset, bytes| {
        if offset.saturating_add(bytes.len() as u64) > location.window.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        location.read(ReadFrom::Medium, offset, bytes)
    })
}

/// Returns whether a root image and its hash tree on the medium have a root hash; false if they
/// cannot be read. *Reads* all of both.
pub(crate) fn has_root_hash(location: &ImageLocation, root: &VerifiedRoot) -> bool {
    let layout = Layout::new(root.len);
    if !location.has_room_for(layout.total_len()) {
        return false;
    }
    let mut builder = TreeBuilder::new(layout);
    let mut hashes = Vec::new();
    let mut buffer = AlignedBuffer::default();
    for at in (0..root.len).step_by(READ_LEN as usize) {
        buffer.resize((root.len - at).min(READ_LEN) as usize);
        if location.read(ReadFrom::Medium, at, &mut buffer).is_err() {
            return false;
        }
        verity::digest::digest_into(&buffer, &mut hashes);
        drop(builder.insert(at / BLOCK, &hashes));
    }
    builder
        .finish()
        .is_ok_and(|(_, found)| found == root.root_hash)
        && check_tree(location, root).is_ok()
}
