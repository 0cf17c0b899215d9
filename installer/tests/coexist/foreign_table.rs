//! Partition tables as other systems write them, made here byte by byte.

use bootctl::device::{BlockDevice as _, MemDevice};
use proptest::prelude::{Strategy, any};

pub(crate) const MIB: u64 = 1 << 20;
/// Length of every disk.
pub(crate) const LEN: u64 = 64 * MIB;
pub(crate) const ESP: [u8; 16] = record::ESP_TYPE.0;

/// An entry of another system.
#[derive(Clone, Debug)]
pub(crate) struct ForeignEntry {
    /// Place in the array, from 0.
    pub(crate) at: usize,
    pub(crate) kind: [u8; 16],
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) attributes: u64,
    pub(crate) name: Vec<u8>,
}

/// A table of another system.
#[derive(Clone, Debug)]
pub(crate) struct ForeignTable {
    pub(crate) sector: u64,
    pub(crate) count: usize,
    pub(crate) entries: Vec<ForeignEntry>,
}

impl ForeignTable {
    pub(crate) fn of(sector: u64, list: &[(usize, [u8; 16], u64, u64)]) -> Self {
        let entry = |(number, kind, from, to): &(usize, [u8; 16], u64, u64)| ForeignEntry {
            at: number - 1,
            kind: *kind,
            first: from * MIB / sector,
            last: to * MIB / sector - 1,
            attributes: 0,
            name: b"t\0".to_vec(),
        };
        Self {
            sector,
            count: 128,
            entries: list.iter().map(entry).collect(),
        }
    }

    /// Returns the number of sectors of an array.
    pub(crate) fn sectors(&self) -> u64 {
        (self.count as u64 * 128).div_ceil(self.sector)
    }

    pub(crate) fn array(&self) -> Vec<u8> {
        let mut array = vec![0; self.count * 128];
        for theirs in &self.entries {
            let entry = &mut array[theirs.at * 128..theirs.at * 128 + 128];
            entry[..16].copy_from_slice(&theirs.kind);
            entry[16..32].copy_from_slice(&(theirs.at as u128 + 1).to_le_bytes());
            entry[24..32].copy_from_slice(&(theirs.at as u64 + 1).to_le_bytes());
            entry[32..40].copy_from_slice(&theirs.first.to_le_bytes());
            entry[40..48].copy_from_slice(&theirs.last.to_le_bytes());
            entry[48..56].copy_from_slice(&theirs.attributes.to_le_bytes());
            entry[56..56 + theirs.name.len()].copy_from_slice(&theirs.name);
        }
        array
    }

    /// Returns the start, in MiB, of the first free range of `mib` MiB, between the tables at each
    /// end.
    pub(crate) fn first_room(&self, mib: u64) -> Option<u64> {
        let per = MIB / self.sector;
        let taken = |at: u64| {
            self.entries
                .iter()
                .any(|it| it.first < (at + 1) * per && it.last >= at * per)
        };
        (1..LEN / MIB - mib).find(|from| !(*from..from + mib).any(taken))
    }

    /// Returns a disk with this table; no byte of it is zero.
    pub(crate) fn disk(&self) -> MemDevice {
        let last = LEN / self.sector - 1;
        let mut bytes = vec![0xd7; LEN as usize];
        let mut put = |at: u64, data: &[u8]| {
            bytes[at as usize..at as usize + data.len()].copy_from_slice(data)
        };
        let mut mbr = vec![0; self.sector as usize];
        mbr[..8].copy_from_slice(b"old boot");
        mbr[446..462].copy_from_slice(&[
            0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 1, 0,
        ]);
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        put(0, &mbr);
        let array = self.array();
        for (lba, other, at) in [(1, last, 2), (last, 1, last - self.sectors())] {
            let mut header = vec![0; self.sector as usize];
            header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
            let usable = (2 + self.sectors(), last - self.sectors() - 1);
            for (place, value) in [
                (24, lba),
                (32, other),
                (40, usable.0),
                (48, usable.1),
                (72, at),
            ] {
                header[place..place + 8].copy_from_slice(&value.to_le_bytes());
            }
            header[56..72].copy_from_slice(&[0x33; 16]);
            header[80..84].copy_from_slice(&(self.count as u32).to_le_bytes());
            header[84..88].copy_from_slice(&128_u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
            let crc = crc32fast::hash(&header[..92]);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            put(lba * self.sector, &header);
            put(at * self.sector, &array);
        }
        MemDevice::from_bytes(bytes, self.sector as u32)
    }
}

/// Damage to one copy of a table.
pub(crate) const DAMAGES: [&str; 5] = [
    "none",
    "primary header",
    "primary entries",
    "backup header",
    "backup entries",
];

pub(crate) fn damage(device: &MemDevice, table: &ForeignTable, damage: &str) {
    let (sector, last) = (table.sector, LEN - table.sector);
    let at = match damage {
        "primary header" => sector + 60,
        "primary entries" => 2 * sector + 40,
        "backup header" => last + 60,
        "backup entries" => last - table.sectors() * sector + 40,
        _ => return,
    };
    device.write_at(at, &[0xee; 16]).expect("write");
}

/// Generates tables with any order, gaps, names, attributes and number of entries.
pub(crate) fn tables() -> impl Strategy<Value = ForeignTable> {
    let cuts = proptest::collection::btree_set(1_u64..63 * 4, 0..14);
    let kinds = any::<[[u8; 16]; 8]>();
    (cuts, kinds, any::<u64>(), 0_usize..5, any::<bool>()).prop_map(
        |(cuts, kinds, seed, count, large)| {
            let (sector, count) = (
                if large { 4096 } else { 512 },
                [128, 129, 136, 200, 1024][count],
            );
            let mut dice = fixtures::dice::Dice::new(seed);
            let cuts: Vec<u64> = cuts.into_iter().map(|cut| cut * MIB / 4 / sector).collect();
            let mut free: Vec<usize> = (0..count).collect();
            let mut entries = Vec::new();
            for pair in cuts
                .windows(2)
                .filter(|_| dice.below(3) > 0)
                .collect::<Vec<_>>()
            {
                let at = free.swap_remove(dice.below(free.len() as u64) as usize);
                let mut kind = kinds[dice.below(8) as usize];
                kind[0] |= 1;
                let kind = if dice.below(4) == 0 { ESP } else { kind };
                let first = pair[0].max(MIB / sector) + dice.below(3);
                let attributes = [0, 1, 4, 1 << 60, u64::MAX << 48][dice.below(5) as usize];
                let name = "ein Name\u{e4}"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect();
                if first < pair[1] {
                    entries.push(ForeignEntry {
                        at,
                        kind,
                        first,
                        last: pair[1] - 1,
                        attributes,
                        name,
                    });
                }
            }
            ForeignTable {
                sector,
                count,
                entries,
            }
        },
    )
}
