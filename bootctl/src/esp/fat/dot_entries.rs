//! Repair of the `.` and `..` entries that `fatfs` 0.3.6 writes into a new directory.
//!
//! It writes long names for both, so that they are not the first two entries
//! (<https://github.com/rafalh/rust-fatfs/issues/117>), and `..` refers to the root directory by
//! its cluster instead of by 0 (Microsoft FAT specification, 6.5). Firmware accepts that, fsck does
//! not.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Length of a directory entry.
const ENTRY: usize = 32;
/// Attribute of a directory.
const DIRECTORY: u8 = 0x10;
/// Attributes of a part of a long name.
const LONG_NAME: u8 = 0x0f;
/// First byte of a deleted entry.
const DELETED: u8 = 0xe5;
/// Maximum number of directories, far more than an installation creates. Ends the walk through a
/// circular directory.
const MAX_DIRECTORIES: usize = 64;

/// Positions in a file system, in bytes.
struct Geometry {
    root: u64,
    data: u64,
    cluster: u64,
}

/// Puts `.` and `..` first in every directory of `volume`, a file system that was just created.
/// *Writes*; durable after a flush.
///
/// # Errors
/// The error of the stream; `InvalidData` for a file system that `fatfs` cannot have created.
///
/// # Power loss
/// Leaves a mixture. The caller holds the boot sector back until the file system is complete.
pub(super) fn rewrite_dot_entries(volume: &mut (impl Read + Write + Seek)) -> io::Result<()> {
    let geometry = Geometry::read(volume)?;
    let mut waiting = vec![(geometry.root, 0_u32)];
    for _ in 0..MAX_DIRECTORIES {
        let Some((at, depth)) = waiting.pop() else {
            return Ok(());
        };
        let mut entries = vec![0; geometry.cluster as usize];
        volume.seek(SeekFrom::Start(at))?;
        volume.read_exact(&mut entries)?;
        if depth > 0 {
            put_dot_entries_first(&mut entries, depth == 1);
            volume.seek(SeekFrom::Start(at))?;
            volume.write_all(&entries)?;
        }
        for entry in entries.chunks_exact(ENTRY) {
            let is_directory = entry[11] & LONG_NAME != LONG_NAME && entry[11] & DIRECTORY != 0;
            if is_directory && !matches!(entry[0], 0 | DELETED | b'.') {
                let cluster = u64::from(word(entry, 20)) << 16 | u64::from(word(entry, 26));
                let number = cluster.checked_sub(2).ok_or(io::ErrorKind::InvalidData)?;
                waiting.push((geometry.data + number * geometry.cluster, depth + 1));
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Changes `[long name of .] [.] [long name of ..] [..]` to `[.] [..] [deleted] [deleted]`.
fn put_dot_entries_first(entries: &mut [u8], below_root: bool) {
    let is_long = |place: usize| entries[place * ENTRY + 11] == LONG_NAME;
    if entries.len() < 4 * ENTRY || !is_long(0) || !is_long(2) {
        return;
    }
    entries.copy_within(ENTRY..2 * ENTRY, 0);
    entries.copy_within(3 * ENTRY..4 * ENTRY, ENTRY);
    if below_root {
        for cluster in [20, 26] {
            entries[ENTRY + cluster..ENTRY + cluster + 2].fill(0);
        }
    }
    for place in [2, 3] {
        entries[place * ENTRY..(place + 1) * ENTRY].fill(0);
        entries[place * ENTRY] = DELETED;
    }
}

impl Geometry {
    /// Reads the boot sector (FAT specification, 3).
    fn read(volume: &mut (impl Read + Seek)) -> io::Result<Self> {
        let mut boot = [0; 512];
        volume.seek(SeekFrom::Start(0))?;
        volume.read_exact(&mut boot)?;
        let sector = u64::from(word(&boot, 11));
        let cluster = sector * u64::from(boot[13]);
        let (short, long) = (u64::from(word(&boot, 22)), u64::from(word(&boot, 36)));
        let long = long | u64::from(word(&boot, 38)) << 16;
        let table = if short == 0 { long } else { short };
        let tables_end = (u64::from(word(&boot, 14)) + u64::from(boot[16]) * table) * sector;
        let data = tables_end + u64::from(word(&boot, 17)) * ENTRY as u64;
        if sector == 0 || cluster == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let number = u64::from(word(&boot, 44)) | u64::from(word(&boot, 46)) << 16;
        let root = if short == 0 {
            data + number.saturating_sub(2) * cluster
        } else {
            tables_end
        };
        Ok(Self {
            root,
            data,
            cluster,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
