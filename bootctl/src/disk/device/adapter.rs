//! A device that passes its calls on to another one.

use super::block_device::BlockDevice;
use std::io;

/// A part of another device, or another device with fewer rights.
///
/// An implementation only says where a range is on the other device; [`BlockDevice`] follows from
/// that.
pub trait DeviceAdapter: Send + Sync {
    /// Returns the device that calls are passed on to.
    fn inner(&self) -> &dyn BlockDevice;

    /// Returns the length in bytes.
    fn size(&self) -> u64 {
        self.inner().len()
    }

    /// Returns the offset on the inner device at which `count` bytes from `offset` on are read.
    ///
    /// # Errors
    /// The reason why they must not be read.
    fn read_offset(&self, offset: u64, count: u64) -> io::Result<u64>;

    /// Returns the offset on the inner device at which `count` bytes from `offset` on are written.
    ///
    /// # Errors
    /// The reason why they must not be written.
    fn write_offset(&self, offset: u64, count: u64) -> io::Result<u64>;
}

impl<T: DeviceAdapter> BlockDevice for T {
    fn sector_size(&self) -> u32 {
        self.inner().sector_size()
    }

    fn len(&self) -> u64 {
        self.size()
    }

    fn is_rotating(&self) -> bool {
        self.inner().is_rotating()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.read_offset(offset, into.len() as u64)?;
        self.inner().read_at(offset, into)
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.read_offset(offset, into.len() as u64)?;
        self.inner().read_once_at(offset, into)
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.read_offset(offset, into.len() as u64)?;
        self.inner().read_medium_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = self.write_offset(offset, data.len() as u64)?;
        self.inner().write_at(offset, data)
    }

    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        let offset = self.write_offset(offset, count)?;
        self.inner().write_zeroes_at(offset, count)
    }

    fn erase_at(&self, offset: u64, count: u64) -> io::Result<()> {
        let offset = self.write_offset(offset, count)?;
        self.inner().erase_at(offset, count)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner().flush()
    }

    fn lock(&self) -> io::Result<()> {
        self.inner().lock()
    }

    fn unlock(&self) {
        self.inner().unlock();
    }
}
