//! An independent reader of disks. It shares no code with the programs under test.
//!
//! It reads GPT (UEFI 2.10, chapter 5), FAT (Microsoft's specification, 8.3 names), the boot record
//! (docs/boot.md) and load options (UEFI 2.10, 3.1.3), as far as the assertions need.

use crate::sim::hardware::image::Image;

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Number, from 1.
    pub number: u32,
    /// Type GUID, as stored.
    pub kind: [u8; 16],
    /// PARTUUID.
    pub uuid: [u8; 16],
    /// Offset on the disk.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A slot in the boot record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// 0 Unbootable, 1 Pending, 2 Good.
    pub status: u8,
    /// Tries or budget left.
    pub left: u8,
    /// Reason for Unbootable.
    pub reason: u8,
    /// Rollback index.
    pub index: u64,
    /// SHA-256 of the manifest.
    pub manifest: [u8; 32],
}

/// The boot record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// Sequence number.
    pub seq: u64,
    /// Default slot: 1 A, 2 B.
    pub default: u8,
    /// One-shot request.
    pub one_shot: u8,
    /// The floor.
    pub floor: u64,
    /// The trust floor.
    pub trust_floor: u64,
    /// Both slots.
    pub slots: [SlotView; 2],
}

/// `6c676a6c-78d6-4e96-909a-4bdd1c9ead12`, as stored.
const STATE: [u8; 16] = [
    0x6c, 0x6a, 0x67, 0x6c, 0xd6, 0x78, 0x96, 0x4e, 0x90, 0x9a, 0x4b, 0xdd, 0x1c, 0x9e, 0xad, 0x12,
];
/// `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

fn le<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|found| found.try_into().ok())
        .unwrap_or([0; N])
}
fn le16(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes(le(bytes, at)))
}
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(le(bytes, at))
}
fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(le(bytes, at))
}

/// Reads a disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskReader<'a> {
    /// Its bytes.
    pub image: &'a Image,
    /// Bytes in a sector.
    pub sector: u64,
}

impl DiskReader<'_> {
    fn bytes(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        self.image.holds(at, len).then(|| self.image.bytes(at, len))
    }

    /// The partitions.
    #[must_use]
    pub fn table(&self) -> Option<Vec<PartitionView>> {
        let (_, entries) = self.entries()?;
        let part = |(entry, number): (&[u8], u32)| {
            let (first, last) = (le64(entry, 32), le64(entry, 40));
            let start = first.checked_mul(self.sector)?;
            let len = last
                .checked_sub(first)?
                .checked_add(1)?
                .checked_mul(self.sector)?;
            (le::<16>(entry, 0) != [0; 16]).then(|| PartitionView {
                number,
                kind: le(entry, 0),
                uuid: le(entry, 16),
                start,
                len,
            })
        };
        Some(
            entries
                .chunks_exact(128)
                .zip(1..)
                .filter_map(part)
                .collect(),
        )
    }

    /// GUID of the disk and the bytes of its partition entries: of the primary table, otherwise of the
    /// backup.
    #[must_use]
    pub fn entries(&self) -> Option<([u8; 16], Vec<u8>)> {
        let last = self.image.len() / self.sector - 1;
        self.entries_at(1).or_else(|| self.entries_at(last))
    }

    fn entries_at(&self, lba: u64) -> Option<([u8; 16], Vec<u8>)> {
        let header = self.bytes(lba * self.sector, self.sector as usize)?;
        let len = le32(&header, 12) as usize;
        if !header.starts_with(b"EFI PART")
            || !(92..=512).contains(&len)
            || le64(&header, 24) != lba
        {
            return None;
        }
        let mut summed = header[..len].to_vec();
        summed[16..20].fill(0);
        let (count, size) = (le32(&header, 80) as usize, le32(&header, 84) as usize);
        if crc32fast::hash(&summed) != le32(&header, 16) || count > 1024 || size != 128 {
            return None;
        }
        let entries = self.bytes(le64(&header, 72).checked_mul(self.sector)?, count * size)?;
        if crc32fast::hash(&entries) != le32(&header, 88) {
            return None;
        }
        Some((le(&header, 56), entries))
    }

    /// The partition of the boot record.
    #[must_use]
    pub fn state(&self) -> Option<PartitionView> {
        self.table()?.into_iter().find(|part| part.kind == STATE)
    }

    /// The valid boot record; `None` without a partition table, its partition, or a valid copy.
    #[must_use]
    pub fn record(&self) -> Option<RecordView> {
        let state = self.state()?;
        let copies =
            [0_u32, 1].map(|copy| self.copy(state.start + u64::from(copy) * 1020 * 1024, copy));
        copies.into_iter().flatten().max_by_key(|record| record.seq)
    }

    fn copy(&self, at: u64, number: u32) -> Option<RecordView> {
        let block = self.bytes(at, 4096)?;
        let valid = block.starts_with(b"RAYOSREC")
            && le16(&block, 8) == 1
            && le32(&block, 12) == number
            && crc32fast::hash(&block[..4092]) == le32(&block, 4092);
        let slot = |at: usize| SlotView {
            status: block[at],
            left: block[at + 1],
            reason: block[at + 2],
            index: le64(&block, at + 8),
            manifest: le(&block, at + 16),
        };
        valid.then(|| RecordView {
            seq: le64(&block, 16),
            default: block[56],
            one_shot: block[57],
            floor: le64(&block, 64),
            trust_floor: le64(&block, 152),
            slots: [slot(192), slot(384)],
        })
    }

    /// The EFI system partitions, in the order of the table.
    #[must_use]
    pub fn esps(&self) -> Vec<PartitionView> {
        self.table()
            .unwrap_or_default()
            .into_iter()
            .filter(|part| part.kind == ESP)
            .collect()
    }

    /// Our EFI system partition: the one before the state partition, otherwise the first.
    #[must_use]
    pub fn esp(&self) -> Option<PartitionView> {
        let state = self.state();
        let esps = self.esps();
        let before =
            |esp: &&PartitionView| state.is_some_and(|state| esp.start + esp.len == state.start);
        esps.iter().find(before).or(esps.first()).copied()
    }

    /// A file of a FAT file system by its path, in capitals with `/`; `None` if firmware would not
    /// find it.
    #[must_use]
    pub fn file(&self, part: PartitionView, path: &str) -> Option<Vec<u8>> {
        let fat = Fat::open(self, part)?;
        let mut at = Entry {
            cluster: fat.root,
            size: u32::MAX,
        };
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let directory = fat.directory(self, at.cluster)?;
            let is_last = names.peek().is_none();
            at = directory
                .chunks_exact(32)
                .take_while(|entry| entry[0] != 0)
                .find(|entry| {
                    let attributes = entry[11];
                    attributes & 0x08 == 0
                        && (attributes & 0x10 == 0) == is_last
                        && short_name(entry) == name
                })
                .map(|entry| Entry {
                    cluster: (u64::from(le16(entry, 20) as u32) << 16) | le16(entry, 26),
                    size: le32(entry, 28),
                })?;
        }
        let mut bytes = fat.chain(self, at.cluster, u64::from(at.size))?;
        bytes.truncate(at.size as usize);
        (bytes.len() == at.size as usize).then_some(bytes)
    }
}

/// Sequence number and the other bytes of a valid copy of the record.
#[must_use]
pub fn record_copy(image: &Image, at: u64, number: u32) -> Option<(u64, Vec<u8>)> {
    let reader = DiskReader { image, sector: 512 };
    let record = reader.copy(at, number)?;
    let mut rest = image.bytes(at, 576);
    rest[16..24].fill(0);
    Some((record.seq, rest))
}

struct Entry {
    cluster: u64,
    size: u32,
}

fn short_name(entry: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (name, extension) = (text(&entry[..8]), text(&entry[8..11]));
    if extension.is_empty() {
        name
    } else {
        format!("{name}.{extension}")
    }
}

/// The fields of a FAT file system that are needed to find a file.
struct Fat {
    cluster_len: u64,
    table: Vec<u8>,
    bits: u64,
    clusters: u64,
    first: u64,
    fixed_root: (u64, u64),
    /// Cluster of the root directory; 0 where it has a fixed position.
    root: u64,
}

impl Fat {
    fn open(reader: &DiskReader<'_>, part: PartitionView) -> Option<Self> {
        let boot = reader.bytes(part.start, 512)?;
        let sector = le16(&boot, 11);
        let per_cluster = u64::from(boot[13]);
        if boot[510..] != [0x55, 0xaa] || sector != reader.sector || !per_cluster.is_power_of_two()
        {
            return None;
        }
        let or = |short: u64, long: u32| if short == 0 { u64::from(long) } else { short };
        let fat_sectors = or(le16(&boot, 22), le32(&boot, 36));
        let total = or(le16(&boot, 19), le32(&boot, 32));
        let (reserved, fats, root_entries) =
            (le16(&boot, 14), u64::from(boot[16]), le16(&boot, 17));
        let root_sectors = (root_entries * 32).div_ceil(sector);
        let data = reserved + fats * fat_sectors + root_sectors;
        let clusters = total.checked_sub(data)? / per_cluster;
        let bits = if clusters < 4085 {
            12
        } else if clusters < 65_525 {
            16
        } else {
            32
        };
        if total * sector > part.len || clusters == 0 {
            return None;
        }
        Some(Self {
            cluster_len: per_cluster * sector,
            table: reader.bytes(
                part.start + reserved * sector,
                (fat_sectors * sector) as usize,
            )?,
            bits,
            clusters,
            first: part.start + data * sector,
            fixed_root: (
                part.start + (data - root_sectors) * sector,
                root_entries * 32,
            ),
            root: if bits == 32 {
                u64::from(le32(&boot, 44))
            } else {
                0
            },
        })
    }

    fn next(&self, cluster: u64) -> u64 {
        match self.bits {
            12 => {
                let pair = le16(&self.table, (cluster + cluster / 2) as usize);
                if cluster.is_multiple_of(2) {
                    pair & 0xfff
                } else {
                    pair >> 4
                }
            }
            16 => le16(&self.table, 2 * cluster as usize),
            _ => u64::from(le32(&self.table, 4 * cluster as usize) & 0x0fff_ffff),
        }
    }

    fn directory(&self, reader: &DiskReader<'_>, cluster: u64) -> Option<Vec<u8>> {
        let (at, len) = self.fixed_root;
        if cluster == 0 {
            reader.bytes(at, len as usize)
        } else {
            self.chain(reader, cluster, 1 << 20)
        }
    }

    /// The bytes of a cluster chain, up to `limit` and the end of a cluster.
    fn chain(&self, reader: &DiskReader<'_>, mut cluster: u64, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while (2..self.clusters + 2).contains(&cluster) && (bytes.len() as u64) < limit {
            let at = self.first + (cluster - 2) * self.cluster_len;
            bytes.extend(reader.bytes(at, self.cluster_len as usize)?);
            cluster = self.next(cluster);
        }
        Some(bytes)
    }
}

/// Partition number, PARTUUID, path in capitals with `/`, and optional data of a boot entry.
#[must_use]
pub fn load_option(bytes: &[u8]) -> Option<(u32, [u8; 16], String, Vec<u8>)> {
    let path_len = le16(bytes, 4) as usize;
    let description = bytes
        .get(6..)?
        .chunks_exact(2)
        .position(|unit| unit == [0, 0])?;
    let begin = 6 + 2 * (description + 1);
    let path = bytes.get(begin..begin + path_len)?;
    let active = bytes[0] & 1 == 1;
    if !active || path.get(..4)? != [4, 1, 42, 0] || path.get(42..44)? != [4, 4] {
        return None;
    }
    let file_len = le16(path, 44) as usize;
    let units = path
        .get(46..42 + file_len)?
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let file: String = char::decode_utf16(units)
        .map(|unit| unit.unwrap_or('?'))
        .collect();
    let file = file
        .trim_matches('\0')
        .trim_start_matches('\\')
        .replace('\\', "/")
        .to_uppercase();
    Some((
        le32(path, 4),
        le(path, 24),
        file,
        bytes.get(begin + path_len..)?.to_vec(),
    ))
}
