//! Digests and checksums of what lies on a disk.

use super::image_location::Place;
use bootctl::device::{BlockDevice, is_zero};
use bundle::{ChunkEntry, ChunkKind, verity};
use sha2::{Digest as _, Sha256};
use std::io;
use twox_hash::XxHash3_64;

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// A checksum of bytes that were verified, to recognise them by on a device that may be faulty.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Whether `bytes` are the chunk's. A chunk of zeroes is told without hashing. The hashes of its
/// blocks are put into `blocks`, but not those of zeroes.
pub(crate) fn matches_digest(
    chunk: &ChunkEntry,
    bytes: &[u8],
    blocks: &mut Vec<verity::Hash>,
) -> bool {
    if chunk.kind == ChunkKind::Zero {
        is_zero(bytes)
    } else {
        verity::digest::digest_into(bytes, blocks) == chunk.sha256
    }
}

/// SHA-256 of the first `size` bytes of an image. *Reads.*
pub(crate) fn digest(place: &Place, size: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE];
    for at in (0..size).step_by(PIECE) {
        let piece = &mut buffer[..(size - at).min(PIECE as u64) as usize];
        place.window.read_at(place.offset(at), piece)?;
        hash.update(piece);
    }
    Ok(hash.finalize().into())
}
