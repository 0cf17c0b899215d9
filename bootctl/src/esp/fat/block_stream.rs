//! A device as a stream of bytes, with one block in memory.

use crate::disk::device::BlockDevice;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// A byte range of a device, and a position in it.
pub(super) struct Extent<'a> {
    pub(super) device: &'a dyn BlockDevice,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) at: u64,
}

/// An extent as a stream. `fatfs` reads and writes a few bytes at a time, so one block of the
/// device is kept in memory.
pub(super) struct BlockStream<'a> {
    pub(super) extent: Extent<'a>,
    block: Vec<u8>,
    /// Number of the block in memory.
    number: Option<u64>,
    dirty: bool,
    pub(super) from_medium: bool,
    /// Number of reads that are left, so that a circular cluster chain ends.
    reads: u64,
    /// Content of the first sector, if it is held back: the device has zeroes there.
    pub(super) boot_sector: Option<Vec<u8>>,
}

impl<'a> BlockStream<'a> {
    const BLOCK: u64 = 64 * 1024;

    pub(super) fn new(extent: Extent<'a>) -> Self {
        // Enough to read a whole file system several times, one entry at a time.
        let reads = extent.len / 4 + (1 << 20);
        Self {
            extent,
            block: Vec::new(),
            number: None,
            dirty: false,
            from_medium: false,
            reads,
            boot_sector: None,
        }
    }

    fn write_back(&mut self) -> io::Result<()> {
        if let Some(number) = self.number.filter(|_| self.dirty) {
            if let Some(held) = self.boot_sector.as_mut().filter(|_| number == 0) {
                let len = held.len();
                held.copy_from_slice(&self.block[..len]);
                self.block[..len].fill(0);
                // The next load puts the sector that is held back into the block again.
                self.number = None;
            }
            self.extent
                .device
                .write_at(self.extent.offset + number * Self::BLOCK, &self.block)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Loads the block at the position; returns its range from the position to its end.
    fn load(&mut self) -> io::Result<std::ops::Range<usize>> {
        let number = self.extent.at / Self::BLOCK;
        let start = number * Self::BLOCK;
        let len = self.extent.len.saturating_sub(start).min(Self::BLOCK) as usize;
        if self.number != Some(number) && len > 0 {
            self.write_back()?;
            self.block.resize(len, 0);
            self.number = None;
            let at = self.extent.offset + start;
            if self.from_medium {
                self.extent.device.read_medium_at(at, &mut self.block)?;
            } else {
                self.extent.device.read_at(at, &mut self.block)?;
            }
            if let Some(held) = self.boot_sector.as_ref().filter(|_| number == 0) {
                self.block[..held.len()].copy_from_slice(held);
            }
            self.number = Some(number);
        }
        Ok(((self.extent.at - start) as usize).min(len)..len)
    }
}

impl Read for BlockStream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let range = self.load()?;
        self.reads = self
            .reads
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("a cluster chain is circular"))?;
        let len = range.len().min(into.len());
        into[..len].copy_from_slice(&self.block[range][..len]);
        self.extent.at += len as u64;
        Ok(len)
    }
}

impl Write for BlockStream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let range = self.load()?;
        let len = range.len().min(data.len());
        if self.block[range.clone()][..len] != data[..len] {
            self.block[range][..len].copy_from_slice(&data[..len]);
            self.dirty = true;
        }
        self.extent.at += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_back()
    }
}

impl Seek for BlockStream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.extent.at.checked_add_signed(by),
            SeekFrom::End(by) => self.extent.len.checked_add_signed(by),
        };
        self.extent.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.extent.at)
    }
}
