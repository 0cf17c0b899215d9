//! Reading by offset: disks, partitions and files alike, in the guard and on Linux.

use sha2::{Digest as _, Sha256};

/// Bytes that can be read by offset: a disk, a partition or a file.
pub trait ReadAt {
    /// The error of a failed read.
    type Error;

    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Reads exactly `into.len()` bytes from byte `offset` on.
    ///
    /// A disk whose firmware reads whole sectors may refuse any other offset or length.
    ///
    /// # Errors
    /// The error of the device; a range that ends beyond [`ReadAt::size`] is one, too.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;
}

/// A range that could not be hashed, because a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashError<E> {
    /// Offset of the read that failed.
    pub offset: u64,
    /// The error of the device.
    pub source: E,
}

impl<E: core::fmt::Display> core::fmt::Display for HashError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.source)
    }
}
impl<E: core::fmt::Debug + core::fmt::Display> core::error::Error for HashError<E> {}

/// Returns the SHA-256 of `len` bytes of `source` from byte `offset` on. *Reads* through `buffer`,
/// so its length is the size of one read; 1 MiB suits disks.
///
/// # Errors
/// [`HashError`] for the first read that fails, and for a range beyond 2^64 bytes.
///
/// # Panics
/// Never; an empty `buffer` is used as one of a single byte.
pub fn hash_range<S: ReadAt + ?Sized>(
    source: &S,
    offset: u64,
    len: u64,
    buffer: &mut [u8],
) -> Result<[u8; 32], HashError<S::Error>> {
    let mut single = [0];
    let buffer = if buffer.is_empty() {
        single.as_mut_slice()
    } else {
        buffer
    };
    let mut hash = Sha256::new();
    let mut done = 0_u64;
    while done < len {
        let count = usize::try_from(len.saturating_sub(done))
            .map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = buffer.get_mut(..count).unwrap_or_default();
        let at = offset.saturating_add(done);
        source
            .read_at(at, piece)
            .map_err(|source| HashError { offset: at, source })?;
        hash.update(&*piece);
        done = done.saturating_add(count as u64);
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Bytes(Vec<u8>);

    impl ReadAt for Bytes {
        type Error = &'static str;

        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
            let start = usize::try_from(offset).map_err(|_| "outside")?;
            let end = start.checked_add(into.len()).ok_or("outside")?;
            into.copy_from_slice(self.0.get(start..end).ok_or("outside")?);
            Ok(())
        }
    }

    #[test]
    fn the_hash_covers_the_range_whatever_the_size_of_a_read() {
        let bytes = Bytes((0..5000_u32).map(|at| at as u8).collect());
        for (offset, len) in [(0, 5000), (1, 4999), (4096, 904), (4999, 1), (5000, 0)] {
            let range = &bytes.0[offset..offset + len];
            let expected: [u8; 32] = Sha256::digest(range).into();
            for buffer in [0, 1, 7, 4096, 10_000] {
                let mut buffer = std::vec![0; buffer];
                let found = hash_range(&bytes, offset as u64, len as u64, &mut buffer);
                assert_eq!(found, Ok(expected), "{offset} {len} {}", buffer.len());
            }
        }
    }

    #[test]
    fn a_failed_read_is_an_error_with_its_offset() {
        let bytes = Bytes(std::vec![7; 5000]);
        let error = hash_range(&bytes, 1000, 5000, &mut [0; 2048]).unwrap_err();
        assert_eq!(
            error,
            HashError {
                offset: 3048,
                source: "outside"
            }
        );
        assert!(hash_range(&bytes, u64::MAX, 2, &mut [0; 1]).is_err());
    }
}
