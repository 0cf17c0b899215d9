//! A device of which only some places may be written.

use super::block_device::BlockDevice;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A device that passes on what is asked of it, but for writes outside of what it was made for:
/// those are refused before the device sees them. A second wall, behind code that does not write
/// there anyway.
pub struct Fenced {
    device: Arc<dyn BlockDevice>,
    allowed: Vec<Range<u64>>,
}

impl Fenced {
    /// `device`, of which these ranges of bytes may be written.
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

    fn check(&self, offset: u64, count: u64) -> io::Result<()> {
        let end = offset.checked_add(count);
        let inside =
            |range: &Range<u64>| range.start <= offset && end.is_some_and(|end| end <= range.end);
        if self.allowed.iter().any(inside) {
            return Ok(());
        }
        let words = format!("{count} bytes at {offset} are outside of what may be written");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
    }
}

impl std::fmt::Debug for Fenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fenced")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl BlockDevice for Fenced {
    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn len(&self) -> u64 {
        self.device.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, into)
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_once_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len() as u64)?;
        self.device.write_at(offset, data)
    }

    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        self.check(offset, count)?;
        self.device.write_zeroes_at(offset, count)
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
        self.device.read_medium_at(offset, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::device::MemDevice;

    #[test]
    fn a_write_is_inside_of_one_range_or_refused() {
        let device = Arc::new(MemDevice::new(8192, 512));
        let fenced = Fenced::new(device.clone(), [512..1024, 2048..4096]);
        assert!(
            fenced.write_at(512, &[1; 512]).is_ok() && fenced.write_zeroes_at(2048, 2048).is_ok()
        );
        let before = device.bytes();
        for (offset, count) in [
            (511, 2),
            (1023, 2),
            (0, 8192),
            (1024, 512),
            (4096, 1),
            (u64::MAX, 1),
        ] {
            let error = fenced
                .write_at(offset, &vec![9; count])
                .map_err(|error| error.to_string());
            assert_eq!(
                error,
                Err(format!(
                    "{count} bytes at {offset} are outside of what may be written"
                ))
            );
            assert!(fenced.write_zeroes_at(offset, count as u64).is_err());
        }
        assert!(
            device.bytes() == before,
            "nothing of it has reached the device"
        );
        assert!(
            fenced.read_at(0, &mut [0; 8192]).is_ok(),
            "all of it may be read"
        );
    }
}
