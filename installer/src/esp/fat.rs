//! The EFI system partition: one small FAT file system, made whole and never changed by an update.

use bootctl::device::BlockDevice;
use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};
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
        Self {
            path,
            content: Box::new(bytes),
        }
    }
}

/// Where the firmware looks on a disk that it knows nothing about.
pub const REMOVABLE_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// The guard's copies on an installed disk: the removable path, and one for each boot entry.
pub const GUARD_PATHS: [&str; 4] = [
    REMOVABLE_PATH,
    "EFI/RAYOS/GUARDA.EFI",
    "EFI/RAYOS/GUARDB.EFI",
    "EFI/RAYOS/GUARDR.EFI",
];

/// How many files [`inspect`] lists.
pub const MAX_LISTED_FILES: usize = 1000;

/// Makes a file system of `len` bytes at `offset` of `device`, with `files` in it. *Writes*,
/// durable on return.
///
/// It is FAT32 wherever that is possible (33 MiB with sectors of 512 bytes, 257 MiB with 4096). The
/// same input gives the same bytes where the extent was zero before.
///
/// # Errors
/// What the device says; `WriteZero` if the files do not fit.
///
/// # Power loss
/// Firmware finds no file system there until this returns, so that it never starts half a guard:
/// the boot sector is zeroed before anything else is written, and written last. Nothing outside of
/// it is touched.
pub fn create(
    device: &dyn BlockDevice,
    offset: u64,
    len: u64,
    volume_id: u32,
    files: &mut [EspFile<'_>],
) -> io::Result<()> {
    let sector_size = device.sector_size();
    device.write_at(offset, &vec![0; sector_size as usize])?;
    device.flush()?;
    let mut extent = BlockStream::new(Extent {
        device,
        offset,
        len,
        at: 0,
    });
    extent.boot_sector = Some(vec![0; sector_size as usize]);
    format(&mut extent, volume_id)?;
    {
        let fs = FileSystem::new(&mut extent, FsOptions::new().time_provider(&FixedTime))?;
        for file in files {
            let root = fs.root_dir();
            let mut made = String::new();
            for dir in file
                .path
                .split('/')
                .rev()
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
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
    super::fat_dot_entries::rewrite_dot_entries(&mut extent)?;
    extent.flush()?;
    device.flush()?;
    device.write_at(offset, &extent.boot_sector.unwrap_or_default())?;
    device.flush()
}

/// An empty file system in all of `extent`. *Writes*, what is not in memory.
fn format(extent: &mut BlockStream<'_>, volume_id: u32) -> io::Result<()> {
    let (sector_size, len) = (extent.extent.device.sector_size(), extent.extent.len);
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
    fatfs::format_volume(extent, options)
}

/// The file system on all of `device`, if its boot sector is one that [`create`] writes: `fatfs`
/// trusts what it finds there, and a damaged one must not lead it astray. *Reads.*
fn open<'a, 'b>(
    extent: &'a mut BlockStream<'b>,
) -> io::Result<FileSystem<&'a mut BlockStream<'b>>> {
    let device = extent.extent.device;
    let (len, sector_size) = (device.len(), device.sector_size());
    let nowhere = NullDevice { len, sector_size };
    let mut expected = BlockStream::new(Extent {
        device: &nowhere,
        offset: 0,
        len,
        at: 0,
    });
    expected.boot_sector = Some(vec![0; sector_size as usize]);
    format(&mut expected, 0)?;
    expected.flush()?;
    let mut found = vec![0; sector_size as usize];
    device.read_medium_at(0, &mut found)?;
    let mut made = expected.boot_sector.unwrap_or_default();
    // The serial number of the file system, wherever its kind keeps it; who has mounted it leaves a
    // mark before that.
    let fat32 = u16::from_le_bytes([made[22], made[23]]) == 0;
    let number = if fat32 { 67 } else { 39 };
    made[number - 2..number + 4].copy_from_slice(&found[number - 2..number + 4]);
    made[number - 1] = 0x29;
    if made != found {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a file system that was made here",
        ));
    }
    FileSystem::new(extent, FsOptions::new().update_accessed_date(false))
}

/// Reads `path` from a file system that [`create`] made, at most `limit` bytes and one more. *Reads*,
/// from the medium.
///
/// # Errors
/// What the device says; `NotFound`; `InvalidData` for another file system, or none.
pub fn read(device: &dyn BlockDevice, path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let mut extent = BlockStream::new(Extent {
        device,
        offset: 0,
        len: device.len(),
        at: 0,
    });
    extent.from_medium = true;
    let fs = open(&mut extent)?;
    let mut content = Vec::new();
    fs.root_dir()
        .open_file(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

/// What is on an EFI system partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EspContent {
    /// Nothing that a firmware would take for a file system.
    Nothing,
    /// A file system that is not, or not any more, one that [`create`] made.
    Other,
    /// One that it made, with these files, as far as it can be read; at most [`MAX_LISTED_FILES`] of them.
    Files(Vec<String>),
}

/// Looks at what is on an EFI system partition. *Reads*, from the medium.
///
/// Nothing of it is trusted: of a damaged one some files are found, or none, and a directory that
/// leads back into itself comes to an end.
///
/// # Errors
/// What the device says of its first sector.
pub fn inspect(device: &dyn BlockDevice) -> io::Result<EspContent> {
    let mut first = vec![0; device.sector_size() as usize];
    device.read_medium_at(0, &mut first)?;
    if first[510..512] != [0x55, 0xaa] {
        return Ok(EspContent::Nothing);
    }
    let mut extent = BlockStream::new(Extent {
        device,
        offset: 0,
        len: device.len(),
        at: 0,
    });
    extent.from_medium = true;
    let Ok(fs) = open(&mut extent) else {
        return Ok(EspContent::Other);
    };
    let mut found = Vec::new();
    let mut dirs = vec![(String::new(), fs.root_dir())];
    while let Some((path, dir)) = dirs.pop() {
        for entry in dir.iter() {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            if found.len() + dirs.len() >= MAX_LISTED_FILES {
                return Ok(EspContent::Files(found));
            }
            if entry.is_dir() {
                dirs.push((path, entry.to_dir()));
            } else {
                found.push(path);
            }
        }
    }
    Ok(EspContent::Files(found))
}

/// The same time for every file system, so that the same files make the same bytes: the first day
/// that FAT knows.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

/// Some bytes of a device, as a stream.
struct Extent<'a> {
    device: &'a dyn BlockDevice,
    offset: u64,
    len: u64,
    at: u64,
}

/// A device of zeroes that forgets what is written: for what a boot sector is to be like.
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

/// `fatfs` reads and writes a few bytes at a time: one block of the device is kept in memory.
struct BlockStream<'a> {
    extent: Extent<'a>,
    block: Vec<u8>,
    /// Number of the block in memory.
    number: Option<u64>,
    dirty: bool,
    from_medium: bool,
    /// How many more times something is read: chains of clusters that a damaged file system leads
    /// in a circle end.
    reads: u64,
    /// What the first sector is to hold: on the device there are zeroes in its place.
    boot_sector: Option<Vec<u8>>,
}

impl<'a> BlockStream<'a> {
    const BLOCK: u64 = 64 * 1024;

    fn new(extent: Extent<'a>) -> Self {
        // A whole file system, read an entry at a time, several times over.
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
                // What was taken out must be put in again before the block is looked at.
                self.number = None;
            }
            self.extent
                .device
                .write_at(self.extent.offset + number * Self::BLOCK, &self.block)?;
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

impl Read for BlockStream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let range = self.load()?;
        self.reads = self
            .reads
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("it leads in a circle"))?;
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
