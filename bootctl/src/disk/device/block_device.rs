//! The trait that every device implements.

use record::ReadAt;
use std::io;

/// A whole disk, an image of one, or a part of it. Offsets and lengths are in bytes; callers keep
/// writes of metadata aligned to [`BlockDevice::sector_size`].
pub trait BlockDevice: Send + Sync {
    /// Returns the bytes in a logical sector: 512 or 4096.
    fn sector_size(&self) -> u32;

    /// Returns the length in bytes.
    fn len(&self) -> u64;

    /// Returns whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the device has to move a head, so that alternating between two places is
    /// slow.
    fn is_rotating(&self) -> bool {
        false
    }

    /// Reads exactly `into.len()` bytes.
    ///
    /// # Errors
    /// The error of the device; `UnexpectedEof` past its end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Reads bytes that will not be read again soon, so that the cache need not keep them.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }

    /// Reads from the medium, and not from a cache of what was written.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data`. *Writes*; durable only after [`BlockDevice::flush`].
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// Any subset of the sectors written after the last flush may have reached the medium.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Writes `count` zero bytes by the fastest means that guarantees zeroes. *Writes*; durable
    /// only after [`BlockDevice::flush`].
    ///
    /// An image file gets a hole. A discard is never used, because a device need not return zeroes
    /// after it.
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// As [`BlockDevice::write_at`].
    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        write_zeroes(self, offset, count)
    }

    /// Makes `count` bytes read as zeroes by one command that does not transfer them, and lets the
    /// device release their space. *Writes*; durable only after [`BlockDevice::flush`].
    ///
    /// # Errors
    /// `Unsupported` if the device has no such command; nothing was changed then.
    ///
    /// # Power loss
    /// As [`BlockDevice::write_at`].
    fn erase_at(&self, _offset: u64, _count: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The error of the device. All writes after the last successful flush are then in doubt.
    fn flush(&self) -> io::Result<()>;

    /// Waits for an exclusive lock and takes it. It is held while the boot record or the event ring
    /// is read, changed and written; [`super::DeviceLock`] releases it.
    ///
    /// It is not the lock of [`super::Access::Write`], which an update holds from its beginning to
    /// its end.
    ///
    /// # Errors
    /// The error of the kernel.
    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Releases the lock of [`BlockDevice::lock`].
    fn unlock(&self) {}
}

impl ReadAt for dyn BlockDevice + '_ {
    type Error = io::Error;

    fn size(&self) -> u64 {
        self.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        BlockDevice::read_at(self, offset, into)
    }
}

/// Writes zeroes like any other bytes. *Writes*; durable only after a flush.
///
/// # Power loss
/// As [`BlockDevice::write_at`].
pub(super) fn write_zeroes(
    device: &(impl BlockDevice + ?Sized),
    offset: u64,
    count: u64,
) -> io::Result<()> {
    let mut at = offset;
    let end = offset.saturating_add(count);
    while at < end {
        let len = (end - at).min(ZEROES.len() as u64);
        device.write_at(at, &ZEROES[..len as usize])?;
        at += len;
    }
    Ok(())
}

/// Returns whether all of `bytes` are zero. *Pure.* As fast as comparing memory.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(ZEROES.len())
        .all(|piece| *piece == ZEROES[..piece.len()])
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// Returns the error for a range that is not inside a device of `len` bytes.
pub(crate) fn outside(offset: u64, count: u64, len: u64) -> io::Error {
    let words = format!("{count} bytes at {offset} are outside of a device of {len} bytes");
    io::Error::new(io::ErrorKind::UnexpectedEof, words)
}

/// Returns whether `count` bytes at `offset` are inside of `len` bytes.
pub(crate) fn is_inside(offset: u64, count: u64, len: u64) -> bool {
    offset.checked_add(count).is_some_and(|end| end <= len)
}
