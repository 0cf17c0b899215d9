//! The hash tree over a root image while the image is written: block hashes come in, pieces of the
//! tree go out behind the image.

use super::image_location::{Place, Reading};
use crate::error::{ApplyError, ReadBackError};
use bootctl::device::BlockDevice;
use bundle::verity::{self, BLOCK, Hash, Layout, TreeBuilder, TreeError, TreePiece};
use bundle::{ChunkEntry, ChunkKind};
use seal::VerifiedRoot;
use std::io;
use std::sync::{Mutex, PoisonError};

/// The tree of a root image in a slot that is written.
pub(crate) struct RootTree {
    image: usize,
    root: VerifiedRoot,
    place: Place,
    growing: Mutex<Growing>,
}

struct Growing {
    /// `None` once it was finished.
    builder: Option<TreeBuilder>,
    /// Pieces that are complete and not written.
    complete: Vec<TreePiece>,
}

impl RootTree {
    /// A tree of which nothing is known yet. `image` is the number of the root image, `place` where
    /// it lies.
    pub(crate) fn new(image: usize, root: VerifiedRoot, place: Place) -> Self {
        let builder = Some(TreeBuilder::new(Layout::new(root.len)));
        let complete = Vec::new();
        Self {
            image,
            root,
            place,
            growing: Mutex::new(Growing { builder, complete }),
        }
    }

    /// Takes the block hashes of a chunk that was verified; those of zeroes need not be given.
    pub(crate) fn learn(&self, chunk: &ChunkEntry, hashes: &[Hash]) {
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

    /// Writes the pieces that are complete. *Writes*; durable after a flush.
    ///
    /// # Errors
    /// [`ApplyError::Write`].
    pub(crate) fn write_complete(&self) -> Result<(), ApplyError> {
        let complete = {
            let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut growing.complete)
        };
        complete.iter().try_for_each(|piece| self.write(piece))
    }

    /// Writes what is left of the tree, if its root hash is the signed one. *Writes*; durable after
    /// a flush.
    ///
    /// # Errors
    /// [`ApplyError::RootHash`], [`ApplyError::Write`].
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
        // Every chunk of the image is verified by now; a tree that lacks a block has no root hash.
        let finished = builder.finish().ok();
        let (piece, found) = finished.unwrap_or_else(|| {
            let (offset, bytes) = (0, Vec::new());
            (TreePiece { offset, bytes }, [0; 32])
        });
        if found != self.root.root_hash {
            return Err(ApplyError::RootHash {
                expected: self.root.root_hash,
                found,
            });
        }
        self.write(&TreePiece {
            offset: self.root.len,
            bytes: vec![0; padding as usize],
        })?;
        self.write(&piece)
    }

    fn write(&self, piece: &TreePiece) -> Result<(), ApplyError> {
        let written = self.place.window.write_at(piece.offset, &piece.bytes);
        written.map_err(|error| ApplyError::Write {
            what: self.place.name,
            error,
        })
    }

    /// Compares the tree on the medium with the signed root hash. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::ReadBack`].
    pub(crate) fn read_back(&self) -> Result<(), ApplyError> {
        let partition = self.place.name;
        check_tree(&self.place, &self.root).map_err(|error| match error {
            TreeError::Io { offset, error } => ApplyError::from(ReadBackError::Io {
                partition,
                offset,
                error,
            }),
            wrong => {
                let offset = wrong.offset();
                ReadBackError::Differs { partition, offset }.into()
            }
        })
    }
}

/// Compares the hash tree behind a root image on the medium with a root hash. *Reads.*
///
/// # Errors
/// The first place that is wrong, or cannot be read.
pub(crate) fn check_tree(place: &Place, root: &VerifiedRoot) -> Result<(), TreeError> {
    let layout = Layout::new(root.len);
    verity::check(&layout, &root.root_hash, |offset, bytes| {
        if offset.saturating_add(bytes.len() as u64) > place.window.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        place.read(Reading::Medium, offset, bytes)
    })
}

/// Compares a root image and its hash tree on the medium with a root hash. *Reads* all of it.
///
/// # Errors
/// What the device says of the image.
pub(crate) fn matches_root_hash(place: &Place, root: &VerifiedRoot) -> io::Result<bool> {
    let mut builder = TreeBuilder::new(Layout::new(root.len));
    let mut hashes = Vec::new();
    let mut buffer = bootctl::device::AlignedBuffer::default();
    for at in (0..root.len).step_by(PIECE as usize) {
        buffer.resize((root.len - at).min(PIECE) as usize);
        place.read(Reading::Medium, at, &mut buffer)?;
        verity::digest::digest_into(&buffer, &mut hashes);
        drop(builder.insert(at / BLOCK, &hashes));
    }
    let is_right = builder
        .finish()
        .is_ok_and(|(_, found)| found == root.root_hash);
    Ok(is_right && check_tree(place, root).is_ok())
}

/// Bytes that are hashed at a time.
const PIECE: u64 = 1 << 20;
