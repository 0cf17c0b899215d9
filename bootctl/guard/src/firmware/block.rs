//! Block I/O (UEFI 2.10, 13.9) as the guard's disk.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use guard::disk::{Disk, IoError};
use uefi::Handle;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::media::block::BlockIO;

/// Maximum number of bytes in one request. Some drivers fail for more.
const REQUEST_MAX: usize = 1024 * 1024;

/// A whole disk with a medium in it.
pub(super) struct BlockDisk {
    /// Borrowed for one call at a time: the interface wants exclusive use even to read.
    driver: RefCell<Driver>,
    sector: usize,
    sectors: u64,
}

/// The firmware's driver, with a buffer that is aligned for it.
struct Driver {
    io: ScopedProtocol<BlockIO>,
    media_id: u32,
    /// All data goes through here, because a caller's buffer need not have the alignment that the
    /// driver asks for.
    bounce: Vec<u8>,
    bounce_at: usize,
}

impl Driver {
    /// The interface and the aligned buffer.
    fn parts(&mut self) -> Result<(&mut BlockIO, &mut [u8]), IoError> {
        let io = self.io.get_mut().ok_or(IoError)?;
        let bounce = self.bounce.get_mut(self.bounce_at..).ok_or(IoError)?;
        Ok((io, bounce))
    }
}

impl BlockDisk {
    /// Opens the disk behind `handle`; `None` for a partition, a drive without a medium or an
    /// unsupported sector size.
    pub(super) fn open(handle: Handle) -> Option<Self> {
        let params = OpenProtocolParams {
            handle,
            agent: boot::image_handle(),
            controller: None,
        };
        // SAFETY: the protocol is only used through this borrow, and no driver is disconnected
        // while the guard runs: it connects and disconnects none. Exclusive access would take the
        // disk away from the partition driver, which the started image needs.
        let io =
            unsafe { boot::open_protocol::<BlockIO>(params, OpenProtocolAttributes::GetProtocol) }
                .ok()?;
        let media = io.get()?.media();
        if !media.is_media_present() || media.is_logical_partition() {
            return None;
        }
        let sector = media.block_size() as usize;
        if !(512..=REQUEST_MAX).contains(&sector) || !REQUEST_MAX.is_multiple_of(sector) {
            return None;
        }
        let (media_id, sectors) = (media.media_id(), media.last_block().checked_add(1)?);
        let align = (media.io_align() as usize).max(1);
        let bounce = vec![0; REQUEST_MAX.checked_add(align)?];
        let bounce_at = bounce.as_ptr().align_offset(align.next_power_of_two());
        let driver = Driver {
            io,
            media_id,
            bounce,
            bounce_at,
        };
        Some(Self {
            driver: RefCell::new(driver),
            sector,
            sectors,
        })
    }

    fn check(&self, lba: u64, len: usize) -> Result<(), IoError> {
        let count = (len / self.sector) as u64;
        let inside = lba
            .checked_add(count)
            .is_some_and(|end| end <= self.sectors);
        if inside && len.is_multiple_of(self.sector) {
            Ok(())
        } else {
            Err(IoError)
        }
    }
}

impl Disk for BlockDisk {
    fn sector_len(&self) -> usize {
        self.sector
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&self, lba: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.check(lba, into.len())?;
        let mut driver = self.driver.try_borrow_mut().map_err(|_| IoError)?;
        let media_id = driver.media_id;
        let (io, bounce) = driver.parts()?;
        let step = REQUEST_MAX / self.sector;
        for (part, lba) in into.chunks_mut(REQUEST_MAX).zip((lba..).step_by(step)) {
            let bounce = bounce.get_mut(..part.len()).ok_or(IoError)?;
            io.read_blocks(media_id, lba, bounce).map_err(|_| IoError)?;
            part.copy_from_slice(bounce);
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), IoError> {
        self.check(lba, from.len())?;
        let driver = self.driver.get_mut();
        let media_id = driver.media_id;
        let (io, bounce) = driver.parts()?;
        let step = REQUEST_MAX / self.sector;
        for (part, lba) in from.chunks(REQUEST_MAX).zip((lba..).step_by(step)) {
            let bounce = bounce.get_mut(..part.len()).ok_or(IoError)?;
            bounce.copy_from_slice(part);
            io.write_blocks(media_id, lba, bounce)
                .map_err(|_| IoError)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let io = &mut self.driver.get_mut().io;
        io.get_mut()
            .ok_or(IoError)?
            .flush_blocks()
            .map_err(|_| IoError)
    }
}
