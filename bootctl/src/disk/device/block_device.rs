//! The trait that every device implements.

use record::ReadAt;
use std::io;

/// A whole disk, or an image of one. Offsets and lengths are in bytes; callers keep writes of
/// metadata aligned to [`BlockDevice::sector_size`].
pub trait BlockDevice: Send + Sync {
    /// Bytes in a logical sector: 512 or 4096.
    fn sector_size(&self) -> u32;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a head has to move from one place of it to another, so that reading here and writing
    /// there by turns is slow.
    fn is_rotating(&self) -> bool {
        false
    }

    /// Reads exactly `into.len()` bytes.
    ///
    /// # Errors
    /// What the device says; `UnexpectedEof` past its end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Reads as [`BlockDevice::read_at`] does what will not be read again soon, so that the cache
    /// need not keep it.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }

    /// Writes all of `data`; durable only after [`BlockDevice::flush`].
    ///
    /// # Errors
    /// What the device says.
    ///
    /// # Power loss
    /// Any subset of the sectors written since the last flush may have reached the medium.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Writes `count` zero bytes, by whatever means is quickest and leaves zeroes for certain;
    /// durable only after [`BlockDevice::flush`]. An image file gets a hole. That a device was told
    /// to discard something is never taken for zeroes.
    ///
    /// # Errors
    /// What the device says.
    ///
    /// # Power loss
    /// As [`BlockDevice::write_at`].
    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        write_zeroes(self, offset, count)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// After an error, all writes since the last flush that succeeded are in doubt.
    fn flush(&self) -> io::Result<()>;

    /// Keeps all other programs that ask for the same from this device until
    /// [`BlockDevice::let_others`], and waits for them: for the moment in which the boot record or
    /// the event ring is read, changed and written. This is another lock than that of
    /// [`super::Access::Write`], which an update holds from its beginning to its end.
    ///
    /// # Errors
    /// What the kernel says.
    fn keep_others_out(&self) -> io::Result<()> {
        Ok(())
    }

    /// Ends [`BlockDevice::keep_others_out`].
    fn let_others(&self) {}

    /// Reads as [`BlockDevice::read_at`] does, but from the medium and not from a cache of what was
    /// written.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
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

/// Writes zeroes as any other bytes.
pub(super) fn write_zeroes(
    device: &(impl BlockDevice + ?Sized),
    offset: u64,
    count: u64,
) -> io::Result<()> {
    let mut at = offset;
    let end = offset.saturating_add(count);
    while at < end {
        let part = (end - at).min(ZEROES.len() as u64);
        device.write_at(at, &ZEROES[..part as usize])?;
        at += part;
    }
    Ok(())
}

/// Whether all of `bytes` are zero. *Pure.* As quick as comparing memory.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(ZEROES.len())
        .all(|part| *part == ZEROES[..part.len()])
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// Error for a range that is not inside a device of `len` bytes.
pub(crate) fn outside(offset: u64, count: usize, len: u64) -> io::Error {
    let kind = io::ErrorKind::UnexpectedEof;
    io::Error::new(
        kind,
        format!("{count} bytes at {offset} are outside of a device of {len} bytes"),
    )
}

/// Whether `count` bytes at `offset` are inside of `len` bytes.
pub(crate) fn is_inside(offset: u64, count: usize, len: u64) -> bool {
    offset
        .checked_add(count as u64)
        .is_some_and(|end| end <= len)
}
