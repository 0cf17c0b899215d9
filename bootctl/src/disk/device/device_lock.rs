//! One change of boot record or event ring at a time.

use super::block_device::BlockDevice;
use std::io;

/// The lock of [`BlockDevice::lock`], held until it is dropped.
pub struct DeviceLock<'a>(&'a dyn BlockDevice);

impl std::fmt::Debug for DeviceLock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceLock")
    }
}

impl<'a> DeviceLock<'a> {
    /// Waits for the lock and takes it. Other programs hold it for a few writes at most.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn acquire(device: &'a dyn BlockDevice) -> io::Result<Self> {
        device.lock()?;
        Ok(Self(device))
    }
}

impl Drop for DeviceLock<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}
