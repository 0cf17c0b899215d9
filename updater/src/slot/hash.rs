//! Digests and checksums of chunks and images.

use super::image_location::{ImageLocation, ReadFrom};
use bootctl::device::{AlignedBuffer, is_zero};
use bundle::verity::Hash;
use bundle::verity::digest::digest_into;
use bundle::{ChunkEntry, ChunkKind};
use record::{HashError, ReadAt, hash_range};
use std::io;
use twox_hash::XxHash3_64;

/// Bytes per read.
const READ_LEN: u64 = 1 << 20;

/// Returns a checksum of verified bytes, to recognise them on a device that may be faulty. *Pure.*
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Returns whether `bytes` have the signed digest of `chunk`. *Pure.* Zeroes are compared without
/// hashing. Otherwise the hashes of the blocks are left in `blocks`.
pub(crate) fn matches_digest(chunk: &ChunkEntry, bytes: &[u8], blocks: &mut Vec<Hash>) -> bool {
    if chunk.kind == ChunkKind::Zero {
        is_zero(bytes)
    } else {
        digest_into(bytes, blocks) == chunk.sha256
    }
}

/// Returns the SHA-256 of the first `len` bytes of an image. *Reads.*
///
/// # Errors
/// [`HashError`], whose offset counts from the beginning of the image.
pub(crate) fn image_digest(
    location: &ImageLocation,
    len: u64,
    from: ReadFrom,
) -> Result<[u8; 32], HashError<io::Error>> {
    let mut buffer = AlignedBuffer::default();
    buffer.resize(len.min(READ_LEN) as usize);
    hash_range(&ImageBytes { location, from }, 0, len, &mut buffer)
}

struct ImageBytes<'a> {
    location: &'a ImageLocation,
    from: ReadFrom,
}

impl ReadAt for ImageBytes<'_> {
    type Error = io::Error;

    fn size(&self) -> u64 {
        let ImageLocation { window, base, .. } = self.location;
        bootctl::device::BlockDevice::len(window).saturating_sub(*base)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.location.read(self.from, offset, into)
    }
}
