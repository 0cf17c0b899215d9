//! The file system: created with its files, read, listed.

use super::block_stream::{BlockStream, Extent};
use super::dot_entries::rewrite_dot_entries;
use super::format::{format, open};
use crate::disk::device::BlockDevice;
use fatfs::{Date, DateTime, FileSystem, FsOptions, Time, TimeProvider};
use std::io::{self, Read, Write};

/// A file to create.
pub struct EspFile<'a> {
    /// Path from the root directory, such as `EFI/BOOT/BOOTX64.EFI`.
    pub path: &'a str,
    /// Its bytes.
    pub content: Box<dyn Read + 'a>,
}

impl<'a> EspFile<'a> {
    /// Returns a file with these bytes. *Pure.*
    #[must_use]
    pub fn new(path: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            path,
            content: Box::new(bytes),
        }
    }
}

/// Maximum number of files that [`inspect`] lists.
pub const MAX_LISTED_FILES: usize = 1000;

/// Creates a file system of `len` bytes at `offset` of `device`, with `files`. *Writes*, durable on
/// return.
///
/// The file system is FAT32 if it is large enough: 33 MiB with sectors of 512 bytes, 257 MiB with
/// 4096. The same files give the same bytes in a range that was zero before.
///
/// # Errors
/// The error of the device; `WriteZero` if the files do not fit.
///
/// # Power loss
/// The firmware finds no file system until this returns, so it never starts a partial guard: the
/// boot sector is zeroed first and written last. Bytes outside of the range are unchanged.
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
            create_file(&fs, file)?;
        }
        fs.unmount()?;
    }
    rewrite_dot_entries(&mut extent)?;
    extent.flush()?;
    device.flush()?;
    device.write_at(offset, &extent.boot_sector.unwrap_or_default())?;
    device.flush()
}

/// Creates a file, and the directories above it.
fn create_file(fs: &FileSystem<&mut BlockStream<'_>>, file: &mut EspFile<'_>) -> io::Result<()> {
    let root = fs.root_dir();
    for (end, _) in file.path.match_indices('/') {
        root.create_dir(&file.path[..end])?;
    }
    let mut out = root.create_file(file.path)?;
    out.truncate()?;
    io::copy(&mut file.content, &mut out)?;
    out.flush()
}

/// Reads a file from a file system that [`create`] wrote, at most `limit` + 1 bytes. *Reads*,
/// bypassing the cache.
///
/// # Errors
/// The error of the device; `NotFound`; `InvalidData` for another file system, or none.
pub fn read(device: &dyn BlockDevice, path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let mut files = read_each(device, &[path], limit)?;
    files
        .pop()
        .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
}

/// Reads files as [`read`] does, and opens the file system once. *Reads*, bypassing the cache.
///
/// # Errors
/// `InvalidData` for another file system, or none; the error of each file in its place.
pub fn read_each(
    device: &dyn BlockDevice,
    paths: &[&str],
    limit: usize,
) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    let mut extent = BlockStream::new(Extent {
        device,
        offset: 0,
        len: device.len(),
        at: 0,
    });
    extent.from_medium = true;
    let fs = open(&mut extent)?;
    let read_one = |path: &&str| {
        let mut content = Vec::new();
        fs.root_dir()
            .open_file(path)?
            .take(limit as u64 + 1)
            .read_to_end(&mut content)?;
        Ok(content)
    };
    Ok(paths.iter().map(read_one).collect())
}

/// Content of an EFI system partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EspContent {
    /// No file system that a firmware would recognise.
    Nothing,
    /// A file system that [`create`] did not write, or that is damaged.
    Other,
    /// A file system that [`create`] wrote, with these files: those that can be read, at most
    /// [`MAX_LISTED_FILES`].
    Files(Vec<String>),
}

/// Returns the content of an EFI system partition. *Reads*, bypassing the cache.
///
/// Nothing of it is trusted: a damaged file system shows some of its files or none, and a circular
/// directory ends.
///
/// # Errors
/// The error of the device for its first sector.
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

/// The first day of the FAT calendar, for every file, so that the same files give the same bytes.
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
