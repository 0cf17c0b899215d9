//! The EFI system partition: one small FAT file system, made whole and never changed by an update.

use bootctl::device::BlockDevice;
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// A file for the file system: its path below the root, with `/`, and what it holds.
pub struct EspFile<'a> {
    /// Path, such as `EFI/BOOT/BOOTX64.EFI`.
    pub path: &'a str,
    /// Bytes.
    pub content: Box<dyn Read + 'a>,
}

impl<'a> EspFile<'a> {
    /// A file that holds `bytes`.
    #[must_use]
    pub fn new(path: &'a str, bytes: &'a [u8]) -> Self {
        Self { path, content: Box::new(bytes) }
    }
}

/// Where the firmware looks on a disk that it knows nothing about.
pub const REMOVABLE_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// The guard's copies on an installed disk: the removable path, and one for each boot entry.
pub const GUARD_PATHS: [&str; 4] =
    [REMOVABLE_PATH, "EFI/RAYOS/GUARDA.EFI", "EFI/RAYOS/GUARDB.EFI", "EFI/RAYOS/GUARDR.EFI"];

/// Makes a file system of `len` bytes at `offset` of `device`, with `files` in it. *Writes*, durable on return.
///
/// It is FAT32 wherever that is possible (33 MiB with sectors of 512 bytes, 257 MiB with 4096). The same input
/// gives the same bytes where the extent was zero before.
///
/// # Errors
/// What the device says; `WriteZero` if the files do not fit.
///
/// # Power loss
/// Firmware finds no file system there until this returns, so that it never starts half a guard: the boot sector
/// is zeroed before anything else is written, and written last. Nothing outside of it is touched.
pub fn make(
    device: &dyn BlockDevice,
    offset: u64,
    len: u64,
    volume_id: u32,
    files: &mut [EspFile<'_>],
) -> io::Result<()> {
    let sector_size = device.sector_size();
    device.write_at(offset, &vec![0; sector_size as usize])?;
    device.flush()?;
    let mut extent = Buffered::new(Extent { device, offset, len, at: 0 });
    extent.boot_sector = Some(vec![0; sector_size as usize]);
    let mut options = FormatVolumeOptions::new()
        .bytes_per_sector(sector_size as u16)
        .volume_id(volume_id)
        .volume_label(*b"RAYOS ESP  ");
    // Below 65,525 clusters a file system is FAT16 by definition, whatever it says of itself.
    if len / u64::from(sector_size) > 66_600 {
        options = options.fat_type(FatType::Fat32);
        if len / u64::from(sector_size) < 8 * 66_600 {
            options = options.bytes_per_cluster(sector_size);
        }
    }
    fatfs::format_volume(&mut extent, options)?;
    {
        let fs = FileSystem::new(&mut extent, FsOptions::new().time_provider(&AtTheBeginning))?;
        for file in files {
            let root = fs.root_dir();
            let mut made = String::new();
            for dir in file.path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
                if !made.is_empty() {
                    made.push('/');
                }
                made.push_str(dir);
                root.create_dir(&made)?;
            }
            let mut out = root.create_file(file.path)?;
            out.truncate()?;
            io::copy(&mut file.content, &mut out)?;
            out.flush()?;
        }
        fs.unmount()?;
    }
    crate::dots::tidy(&mut extent)?;
    extent.flush()?;
    device.flush()?;
    device.write_at(offset, &extent.boot_sector.unwrap_or_default())?;
    device.flush()
}

/// Reads `path` from a file system that [`make`] made, at most `limit` bytes and one more. *Reads*, from the
/// medium.
///
/// # Errors
/// What the device says; `NotFound`.
pub fn read(device: &dyn BlockDevice, path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let mut extent = Buffered::new(Extent { device, offset: 0, len: device.len(), at: 0 });
    extent.from_medium = true;
    let fs = FileSystem::new(&mut extent, FsOptions::new().update_accessed_date(false))?;
    let mut content = Vec::new();
    fs.root_dir().open_file(path)?.take(limit as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// The same time for every file system, so that the same files make the same bytes: the first day that FAT knows.
#[derive(Debug)]
struct AtTheBeginning;

impl TimeProvider for AtTheBeginning {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// Some bytes of a device, as a stream.
struct Extent<'a> {
    device: &'a dyn BlockDevice,
    offset: u64,
    len: u64,
    at: u64,
}

/// `fatfs` reads and writes a few bytes at a time: one block of the device is kept in memory.
struct Buffered<'a> {
    extent: Extent<'a>,
    block: Vec<u8>,
    /// Number of the block in memory.
    number: Option<u64>,
    dirty: bool,
    from_medium: bool,
    /// What the first sector is to hold: on the device there are zeroes in its place.
    boot_sector: Option<Vec<u8>>,
}

impl<'a> Buffered<'a> {
    const BLOCK: u64 = 64 * 1024;

    fn new(extent: Extent<'a>) -> Self {
        Self { extent, block: Vec::new(), number: None, dirty: false, from_medium: false, boot_sector: None }
    }

    fn write_back(&mut self) -> io::Result<()> {
        if let Some(number) = self.number.filter(|_| self.dirty) {
            if let Some(held) = self.boot_sector.as_mut().filter(|_| number == 0) {
                let len = held.len();
                held.copy_from_slice(&self.block[..len]);
                self.block[..len].fill(0);
                // What was taken out must be put in again before the block is looked at.
                self.number = None;
            }
            self.extent.device.write_at(self.extent.offset + number * Self::BLOCK, &self.block)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Brings the block at the position into memory; gives the part of it from the position on.
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

impl Read for Buffered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let range = self.load()?;
        let len = range.len().min(into.len());
        into[..len].copy_from_slice(&self.block[range][..len]);
        self.extent.at += len as u64;
        Ok(len)
    }
}

impl Write for Buffered<'_> {
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

impl Seek for Buffered<'_> {
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
