//! A device in memory: writes take effect at once, and nothing fails.

use super::block_device::{BlockDevice, is_inside, outside};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A device in memory, for tests and for small images.
#[derive(Debug)]
pub struct MemDevice {
    sector_size: u32,
    bytes: Mutex<Vec<u8>>,
}

impl MemDevice {
    /// Returns a device of `len` zero bytes.
    #[must_use]
    pub fn new(len: usize, sector_size: u32) -> Self {
        Self::from_bytes(vec![0; len], sector_size)
    }

    /// Returns a device with this content.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>, sector_size: u32) -> Self {
        Self {
            sector_size,
            bytes: Mutex::new(bytes),
        }
    }

    /// Returns a copy of the content.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.content().clone()
    }

    fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockDevice for MemDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn len(&self) -> u64 {
        self.content().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.content();
        let len = bytes.len() as u64;
        if !is_inside(offset, into.len() as u64, len) {
            return Err(outside(offset, into.len() as u64, len));
        }
        let at = offset as usize;
        into.copy_from_slice(&bytes[at..at + into.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.content();
        let len = bytes.len() as u64;
        if !is_inside(offset, data.len() as u64, len) {
            return Err(outside(offset, data.len() as u64, len));
        }
        let at = offset as usize;
        bytes[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn erase_at(&self, offset: u64, count: u64) -> io::Result<()> {
        self.write_zeroes_at(offset, count)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}
