//! An empty file system, and the boot sector that it has.

use super::block_stream::{BlockStream, Extent};
use crate::disk::device::BlockDevice;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::io;

/// Number of sectors above which a file system is FAT32. One with fewer than 65,525 clusters is
/// FAT16 by definition (FAT specification, 3.5), whatever its boot sector says.
const MIN_FAT32_SECTORS: u64 = 66_600;

/// Creates an empty file system in all of `stream`. *Writes*; durable after a flush of stream and
/// device.
pub(super) fn format(stream: &mut BlockStream<'_>, volume_id: u32) -> io::Result<()> {
    let sector_size = stream.extent.device.sector_size();
    let sectors = stream.extent.len / u64::from(sector_size);
    let mut options = FormatVolumeOptions::new()
        .bytes_per_sector(sector_size as u16)
        .volume_id(volume_id)
        .volume_label(*b"RAYOS ESP  ");
    if sectors > MIN_FAT32_SECTORS {
        options = options.fat_type(FatType::Fat32);
        if sectors < 8 * MIN_FAT32_SECTORS {
            options = options.bytes_per_cluster(sector_size);
        }
    }
    fatfs::format_volume(stream, options)
}

/// Opens the file system on all of the device of `stream`, if its boot sector is one that
/// [`format()`] writes. *Reads.*
pub(super) fn open<'a, 'b>(
    stream: &'a mut BlockStream<'b>,
) -> io::Result<FileSystem<&'a mut BlockStream<'b>>> {
    let device = stream.extent.device;
    let sector_size = device.sector_size();
    let mut found = vec![0; sector_size as usize];
    device.read_medium_at(0, &mut found)?;
    let mut expected = expected_boot_sector(device.len(), sector_size)?;
    // The serial number differs, and the two bytes before it, where a system that mounted the file
    // system leaves a flag. FAT32 has them elsewhere.
    let is_fat32 = expected[22..24] == [0, 0];
    let serial = if is_fat32 { 67 } else { 39 };
    expected[serial - 2..serial + 4].copy_from_slice(&found[serial - 2..serial + 4]);
    expected[serial - 1] = 0x29;
    if expected != found {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a file system that an installation created",
        ));
    }
    FileSystem::new(stream, FsOptions::new().update_accessed_date(false))
}

/// Returns the boot sector that [`format()`] writes to a device of this size. *Pure.*
fn expected_boot_sector(len: u64, sector_size: u32) -> io::Result<Vec<u8>> {
    let device = NullDevice { len, sector_size };
    let mut stream = BlockStream::new(Extent {
        device: &device,
        offset: 0,
        len,
        at: 0,
    });
    stream.boot_sector = Some(vec![0; sector_size as usize]);
    format(&mut stream, 0)?;
    io::Write::flush(&mut stream)?;
    Ok(stream.boot_sector.unwrap_or_default())
}

/// A device of zeroes that drops what is written.
struct NullDevice {
    len: u64,
    sector_size: u32,
}

impl BlockDevice for NullDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, _offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}
