//! The bytes of one partition as a device of its own.

use crate::disk::device::{BlockDevice, is_inside, outside};
use std::io;
use std::sync::Arc;

/// The bytes of one partition. What is asked of it outside of them is refused before the disk sees
/// it.
#[derive(Clone)]
pub struct Window {
    device: Arc<dyn BlockDevice>,
    start: u64,
    len: u64,
}

impl Window {
    /// `len` bytes of `device` from byte `start`; both must lie inside the device.
    pub(super) fn new(device: Arc<dyn BlockDevice>, start: u64, len: u64) -> Self {
        Self { device, start, len }
    }

    /// Byte offset on the disk.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    fn offset(&self, offset: u64, count: usize) -> io::Result<u64> {
        if is_inside(offset, count, self.len) {
            Ok(self.start + offset)
        } else {
            Err(outside(offset, count, self.len))
        }
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({} bytes at {})", self.len, self.start)
    }
}

impl BlockDevice for Window {
    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_rotating(&self) -> bool {
        self.device.is_rotating()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_at(self.offset(offset, into.len())?, into)
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device
            .read_once_at(self.offset(offset, into.len())?, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.device.write_at(self.offset(offset, data.len())?, data)
    }

    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        let len = usize::try_from(count).unwrap_or(usize::MAX);
        self.device
            .write_zeroes_at(self.offset(offset, len)?, count)
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }

    fn keep_others_out(&self) -> io::Result<()> {
        self.device.keep_others_out()
    }

    fn let_others(&self) {
        self.device.let_others();
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device
            .read_medium_at(self.offset(offset, into.len())?, into)
    }
}
