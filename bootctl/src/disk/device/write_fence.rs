//! A device of which only some ranges can be written.

use super::adapter::DeviceAdapter;
use super::block_device::BlockDevice;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A device that refuses each write outside of given ranges before the other device sees it.
///
/// It is a second barrier behind code that does not write there anyway. All of the device can be
/// read.
pub struct WriteFence {
    device: Arc<dyn BlockDevice>,
    allowed: Vec<Range<u64>>,
}

impl WriteFence {
    /// Returns `device` with writes restricted to these ranges of bytes. *Pure.*
    #[must_use]
    pub fn new(
        device: Arc<dyn BlockDevice>,
        allowed: impl IntoIterator<Item = Range<u64>>,
    ) -> Self {
        Self {
            device,
            allowed: allowed.into_iter().collect(),
        }
    }
}

impl std::fmt::Debug for WriteFence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteFence")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl DeviceAdapter for WriteFence {
    fn inner(&self) -> &dyn BlockDevice {
        self.device.as_ref()
    }

    fn read_offset(&self, offset: u64, _: u64) -> io::Result<u64> {
        Ok(offset)
    }

    fn write_offset(&self, offset: u64, count: u64) -> io::Result<u64> {
        let end = offset.checked_add(count);
        let is_inside =
            |range: &Range<u64>| range.start <= offset && end.is_some_and(|end| end <= range.end);
        if self.allowed.iter().any(is_inside) {
            return Ok(offset);
        }
        let words = format!("{count} bytes at {offset} are outside of what may be written");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::device::MemDevice;

    #[test]
    fn a_write_is_inside_of_one_range_or_refused() {
        let device = Arc::new(MemDevice::new(8192, 512));
        let fence = WriteFence::new(device.clone(), [512..1024, 2048..4096]);
        fence.write_at(512, &[1; 512]).unwrap();
        fence.write_zeroes_at(2048, 2048).unwrap();
        let before = device.bytes();
        for (offset, count) in [
            (511, 2),
            (1023, 2),
            (0, 8192),
            (1024, 512),
            (4096, 1),
            (u64::MAX, 1),
        ] {
            let error = fence.write_at(offset, &vec![9; count]).unwrap_err();
            let words = format!("{count} bytes at {offset} are outside of what may be written");
            assert_eq!(error.to_string(), words);
            assert!(fence.write_zeroes_at(offset, count as u64).is_err());
        }
        assert!(device.bytes() == before, "the device has not changed");
        fence.read_at(0, &mut [0; 8192]).unwrap();
    }
}
