//! Reads that bypass the page cache (`O_DIRECT`).

use super::aligned::{ALIGNMENT, AlignedBuffer};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Maximum number of bytes of one direct read into unaligned memory. Bounds the second buffer.
const UNALIGNED_MAX: usize = 1024 * 1024;

/// Returns whether offset, length and memory have the alignment that direct I/O needs.
pub(super) fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(ALIGNMENT as u64)
        && bytes.len().is_multiple_of(ALIGNMENT)
        && bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

/// Reads through a direct handle into memory of any alignment.
pub(super) fn read(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    if is_aligned(offset, into) {
        read_aligned(file, offset, into)
    } else {
        read_unaligned(file, offset, into)
    }
}

/// Reads through a direct handle into aligned memory.
///
/// After a short read nothing aligned is left to continue with. That is no error of the device:
/// `InvalidInput` lets the caller read in another way.
pub(super) fn read_aligned(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let count = match file.read_at(&mut into[done..], offset + done as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count == 0 || !count.is_multiple_of(ALIGNMENT) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        done += count;
    }
    Ok(())
}

/// Reads through a direct handle through an aligned buffer.
fn read_unaligned(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let room = into
        .len()
        .saturating_add(2 * ALIGNMENT)
        .min(UNALIGNED_MAX)
        .next_multiple_of(ALIGNMENT);
    let mut buffer = AlignedBuffer::new(room);
    let mut done = 0;
    while done < into.len() {
        let from = offset + done as u64;
        let skip = (from % ALIGNMENT as u64) as usize;
        let wanted = (skip + into.len() - done)
            .next_multiple_of(ALIGNMENT)
            .min(room);
        let count = match file.read_at(&mut buffer[..wanted], from - skip as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let usable = (count - skip).min(into.len() - done);
        into[done..done + usable].copy_from_slice(&buffer[skip..skip + usable]);
        done += usable;
    }
    Ok(())
}
