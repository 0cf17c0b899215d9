//! The log of a disk's writes, as QEMU's `blklogwrites` records it: the format of Linux'
//! `dm-log-writes` (drivers/md/dm-log-writes.c), little-endian.
//!
//! ```text
//! sector 0   magic (8), version 1 (8), number of entries (8), length of a sector (4)
//! then       for each entry one sector: first sector (8), sectors (8), flags (8), length of a mark (8);
//!            and the sectors that were written, unless it is a discard
//! ```

use crate::sim::hardware::operation::Operation;
use qemu::Failure;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// Maximum length of a write of zeroes that stands for a discard.
const PIECE: u64 = 1 << 20;

/// The operations of a disk.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The operations in order. A discard is a write of zeroes; a forced write (FUA) is followed by a
    /// flush.
    pub ops: Vec<Operation>,
    /// Bytes in a sector of the recording.
    pub sector: u64,
}

impl Recording {
    /// Reads the file that [`qemu::Disk::log_writes`] named, for a disk of `disk_len` bytes.
    /// *Reads.*
    ///
    /// # Errors
    /// When the file has another format, is truncated, or has an entry beyond the end of the disk.
    pub fn read(path: &Path, disk_len: u64) -> Result<Self, Failure> {
        let step = format!("read {}", path.display());
        let file = File::open(path).map_err(Failure::of(&step))?;
        let wrong = |what: String| Failure::new(&step, what);
        let bytes = |at: u64, len: u64| -> Result<Vec<u8>, Failure> {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, at)
                .map_err(Failure::of(&step))?;
            Ok(bytes)
        };
        let head = bytes(0, 28)?;
        let (magic, version, count) = (le64(&head, 0), le64(&head, 8), le64(&head, 16));
        let sector = le64(&head, 20) >> 32;
        if magic != MAGIC || version != VERSION || !(512..=4096).contains(&sector) {
            return Err(wrong(format!(
                "magic {magic:x}, version {version}, sectors of {sector} bytes"
            )));
        }
        let zeroes: Arc<[u8]> = vec![0; PIECE as usize].into();
        let (mut ops, mut at) = (Vec::new(), sector);
        for number in 0..count {
            let entry = bytes(at, 32)?;
            at += sector;
            let (first, sectors, flags) = (le64(&entry, 0), le64(&entry, 8), le64(&entry, 16));
            let place = first.checked_mul(sector);
            let len = sectors.checked_mul(sector);
            let inside = place
                .zip(len)
                .filter(|(place, len)| place.checked_add(*len) <= Some(disk_len));
            let Some((place, len)) = inside.filter(|_| flags & MARK == 0) else {
                let what =
                    format!("entry {number}: {sectors} sectors from {first} on, flags {flags:x}");
                return Err(wrong(what));
            };
            if flags & FLUSH != 0 {
                ops.push(Operation::Flush);
            }
            if flags & DISCARD != 0 {
                ops.extend((0..len).step_by(PIECE as usize).map(|done| {
                    let data = if len - done >= PIECE {
                        Arc::clone(&zeroes)
                    } else {
                        zeroes[..(len - done) as usize].into()
                    };
                    Operation::Write {
                        at: place + done,
                        data,
                    }
                }));
            } else if len > 0 {
                ops.push(Operation::Write {
                    at: place,
                    data: bytes(at, len)?.into(),
                });
                at += len;
            }
            if flags & FUA != 0 {
                ops.push(Operation::Flush);
            }
        }
        Ok(Self { ops, sector })
    }
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|found| found.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(count: u64, entries: &[(u64, u64, u64, &[u8])]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let sector = |fields: &[u64]| {
            let mut bytes: Vec<u8> = fields
                .iter()
                .flat_map(|field| field.to_le_bytes())
                .collect();
            bytes.resize(512, 0);
            bytes
        };
        file.write_all(&sector(&[MAGIC, VERSION, count, 512]))
            .unwrap();
        for (first, sectors, flags, data) in entries {
            file.write_all(&sector(&[*first, *sectors, *flags, 0]))
                .unwrap();
            file.write_all(data).unwrap();
        }
        file
    }

    fn words(recording: &Recording) -> Vec<String> {
        let word = |op: &Operation| match op {
            Operation::Write { at, data } => format!("{at}+{} of {}", data.len(), data[0]),
            other => format!("{other:?}"),
        };
        recording.ops.iter().map(word).collect()
    }

    #[test]
    fn writes_flushes_and_discards_keep_their_order() {
        let entries: [(u64, u64, u64, &[u8]); 4] = [
            (2, 1, 0, &[7; 512]),
            (0, 0, FLUSH, &[]),
            (8, 2049, DISCARD, &[]),
            (4, 2, FUA, &[9; 1024]),
        ];
        let recording = Recording::read(file(4, &entries).path(), 4 << 20).unwrap();
        let expected = [
            "1024+512 of 7",
            "Flush",
            "4096+1048576 of 0",
            "1052672+512 of 0",
            "2048+1024 of 9",
            "Flush",
        ];
        assert_eq!(words(&recording), expected);
    }

    #[test]
    fn entries_beyond_the_disk_and_truncated_files_are_refused() {
        let outside = file(1, &[(8191, 2, 0, &[7; 1024])]);
        assert!(Recording::read(outside.path(), 4 << 20).is_err());
        let endless = file(1, &[(u64::MAX / 8, u64::MAX / 8, 0, &[])]);
        assert!(Recording::read(endless.path(), 4 << 20).is_err());
        let short = file(2, &[(0, 1, 0, &[7; 512])]);
        assert!(Recording::read(short.path(), 4 << 20).is_err());
        let mut other = file(0, &[]);
        std::io::Seek::rewind(&mut other).unwrap();
        other.write_all(b"else").unwrap();
        assert!(Recording::read(other.path(), 4 << 20).is_err());
    }
}
