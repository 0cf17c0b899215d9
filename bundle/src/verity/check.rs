//! A tree on a medium against a root hash.

use super::digest::{Hash, block_hash};
use super::layout::{BLOCK, HASHES_PER_BLOCK, Layout};
use std::io;
use std::ops::Range;

/// Bytes that are read at a time.
const PIECE: u64 = HASHES_PER_BLOCK * BLOCK;

/// Why what follows an image is not the tree that was signed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TreeError {
    #[error("offset {offset}: {error}")]
    Io { offset: u64, error: io::Error },
    #[error("offset {offset}: a block of the hash tree does not have the hash that vouches for it")]
    Block { offset: u64 },
    #[error("offset {offset}: not the superblock of the hash tree")]
    Superblock { offset: u64 },
    #[error("offset {offset}: not zero between the image and its hash tree")]
    Padding { offset: u64 },
}

impl TreeError {
    /// Where it is wrong, in bytes from the beginning of the partition. *Pure.*
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Io { offset, .. }
            | Self::Block { offset }
            | Self::Superblock { offset }
            | Self::Padding { offset } => *offset,
        }
    }
}

/// Compares superblock, zeroes before it and every level of the tree with `root_hash`, from the
/// top. *Reads* by `read`, in pieces of at most 512 KiB; `read` gets an offset in the partition.
/// The image itself is not read. An image of one block has no tree: nothing is compared with its
/// root hash.
///
/// # Errors
/// The first [`TreeError`].
pub fn check(
    layout: &Layout,
    root_hash: &Hash,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<(), TreeError> {
    let mut read = |offset, bytes: &mut [u8]| {
        read(offset, bytes).map_err(|error| TreeError::Io { offset, error })
    };
    let offset = layout.superblock_offset();
    let mut superblock = vec![0; BLOCK as usize];
    read(offset, &mut superblock)?;
    if superblock != layout.superblock() {
        return Err(TreeError::Superblock { offset });
    }
    check_padding(layout, &mut read)?;
    let mut expected = vec![*root_hash];
    for level in (0..layout.levels()).rev() {
        let mut below = Vec::new();
        let mut vouching = expected.iter();
        for piece in pieces(layout.level(level)) {
            let mut bytes = vec![0; (piece.end - piece.start) as usize];
            read(piece.start, &mut bytes)?;
            let offsets = piece.step_by(BLOCK as usize);
            for (offset, block) in offsets.zip(bytes.chunks(BLOCK as usize)) {
                if vouching.next() != Some(&block_hash(block)) {
                    return Err(TreeError::Block { offset });
                }
            }
            // Level 0 vouches for the image, which is not looked at.
            if level > 0 {
                below.extend_from_slice(bytes.as_chunks::<32>().0);
            }
        }
        expected = below;
    }
    Ok(())
}

fn check_padding(
    layout: &Layout,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let (end, until) = (layout.image_len(), layout.superblock_offset());
    if end == until {
        return Ok(());
    }
    // A whole block, for devices that read nothing less.
    let start = until - BLOCK;
    let mut block = vec![0; BLOCK as usize];
    read(start, &mut block)?;
    let padding = &block[(end - start) as usize..];
    match padding.iter().position(|byte| *byte != 0) {
        Some(at) => Err(TreeError::Padding {
            offset: end + at as u64,
        }),
        None => Ok(()),
    }
}

fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(PIECE as usize)
        .map(move |start| start..end.min(start + PIECE))
}
