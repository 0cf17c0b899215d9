//! The bytes of one partition as a device of its own.

use crate::disk::device::{BlockDevice, DeviceAdapter, is_inside, outside};
use std::io;
use std::sync::Arc;

/// The bytes of one partition. A range that is not inside of it is refused before the disk sees it.
#[derive(Clone)]
pub struct Window {
    device: Arc<dyn BlockDevice>,
    start: u64,
    size: u64,
}

impl Window {
    /// Returns `size` bytes of `device` from byte `start` on, which must be inside of the device.
    pub(super) fn new(device: Arc<dyn BlockDevice>, start: u64, size: u64) -> Self {
        Self {
            device,
            start,
            size,
        }
    }

    /// Returns the byte offset on the disk. *Pure.*
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    fn offset(&self, offset: u64, count: u64) -> io::Result<u64> {
        if is_inside(offset, count, self.size) {
            Ok(self.start + offset)
        } else {
            Err(outside(offset, count, self.size))
        }
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({} bytes at {})", self.size, self.start)
    }
}

impl DeviceAdapter for Window {
    fn inner(&self) -> &dyn BlockDevice {
        self.device.as_ref()
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_offset(&self, offset: u64, count: u64) -> io::Result<u64> {
        self.offset(offset, count)
    }

    fn write_offset(&self, offset: u64, count: u64) -> io::Result<u64> {
        self.offset(offset, count)
    }
}
