//! An installation beside other systems, on tables that others have made: what was there kept, and
//! tools that are not ours find nothing wrong.

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use installer::disk::choose::Target;
use installer::disk::choose::{Candidate, candidates};
use installer::disk::coexist::CoexistPlan;
use installer::disk::disks::{self, sample};
use installer::disk::layout::{Layout, Size};
use installer::disk::plan_report::PlanReport;
use installer::disk::safety::{DiskContent, DiskFindings, DiskRequest, inspect};
use installer::disk::table::ExistingTable;
use proptest::prelude::*;
use record::Guid;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

const MIB: u64 = 1 << 20;
const LEN: u64 = 64 * MIB;
const ID: Guid = Guid([7; 16]);
const ESP: [u8; 16] = record::ESP_TYPE.0;

/// An entry of somebody else.
#[derive(Clone, Debug)]
struct Theirs {
    /// Place in the array, from 0.
    at: usize,
    kind: [u8; 16],
    first: u64,
    last: u64,
    attributes: u64,
    name: Vec<u8>,
}

/// A table of somebody else, made here byte by byte.
#[derive(Clone, Debug)]
struct Table {
    sector: u64,
    count: usize,
    entries: Vec<Theirs>,
}

impl Table {
    fn of(sector: u64, list: &[(usize, [u8; 16], u64, u64)]) -> Self {
        let entry = |(number, kind, from, to): &(usize, [u8; 16], u64, u64)| Theirs {
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

    /// Sectors of an array.
    fn sectors(&self) -> u64 {
        (self.count as u64 * 128).div_ceil(self.sector)
    }

    fn array(&self) -> Vec<u8> {
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

    /// Where, in MiB, the first range of so many MiB begins of which nobody has a part; there is a
    /// table at each end.
    fn first_room(&self, mib: u64) -> Option<u64> {
        let per = MIB / self.sector;
        let taken = |at: u64| {
            self.entries
                .iter()
                .any(|it| it.first < (at + 1) * per && it.last >= at * per)
        };
        (1..LEN / MIB - mib).find(|from| !(*from..from + mib).any(taken))
    }

    /// A disk with it, every byte of its partitions somebody's.
    fn disk(&self) -> MemDevice {
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

fn layout() -> Layout {
    let mib = |mib: u64| Size(mib * MIB);
    Layout {
        esp: mib(2),
        boot: mib(1),
        root: mib(2),
        recovery: mib(1),
        data: Some(mib(1)),
    }
}

fn plan(device: &MemDevice, layout: &Layout) -> Result<CoexistPlan, String> {
    let existing = ExistingTable::read(device)
        .expect("read")
        .map_err(|unfit| unfit.to_string())?;
    CoexistPlan::plan(&existing, layout, LEN, ID).map_err(|reasons| reasons.to_string())
}

/// A device that remembers what was written to it.
struct Recorder(MemDevice, Mutex<Vec<(u64, Vec<u8>)>>);

impl BlockDevice for Recorder {
    fn sector_size(&self) -> u32 {
        self.0.sector_size()
    }
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.1.lock().expect("writes").push((offset, data.to_vec()));
        self.0.write_at(offset, data)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read_medium_at(offset, into)
    }
}

/// Adds ours to the table of `device`, and judges the outcome; at every cut, too, the other system
/// is in the table.
fn added(
    device: MemDevice,
    theirs: &Table,
    layout: &Layout,
) -> Result<(MemDevice, CoexistPlan), String> {
    let beside = plan(&device, layout)?;
    let before = device.bytes();
    let recorder = Recorder(device, Mutex::default());
    beside
        .table
        .commit(&beside.fence(Arc::new(MemDevice::new(0, 512))))
        .expect_err("that device is empty");
    beside.table.commit(&recorder).expect("commit");
    let (device, writes) = (recorder.0, recorder.1.into_inner().expect("writes"));
    let (old, new) = (
        theirs.array(),
        ExistingTable::read(&device).expect("read").expect("table"),
    );
    let (sector, after) = (theirs.sector as usize, device.bytes());
    assert!(after[..sector] == before[..sector], "the MBR");
    let last = after.len() - sector;
    assert!(
        after[sector + 56..sector + 72] == [0x33; 16] && after[last + 56..last + 72] == [0x33; 16]
    );
    let arrays = [2 * sector, last - theirs.sectors() as usize * sector];
    for place in arrays {
        for (number, entry) in old.chunks_exact(128).enumerate() {
            let now = &after[place + number * 128..place + number * 128 + 128];
            let ours = beside
                .planned
                .partitions
                .iter()
                .any(|it| it.number as usize == number + 1);
            assert_eq!(now == entry, !ours, "entry {} at {place}", number + 1);
            assert!(
                !ours || entry[..16] == [0; 16],
                "entry {} was used",
                number + 1
            );
        }
    }
    let is_table =
        |at: usize| at < 2 * sector + old.len().next_multiple_of(sector) || at >= arrays[1];
    let sectors = after
        .chunks(sector)
        .zip(before.chunks(sector))
        .zip((0..).step_by(sector));
    let mut changed = sectors
        .filter(|((after, before), _)| after != before)
        .map(|(_, at)| at);
    assert!(changed.all(is_table), "nothing but the table is written");
    for (taken, ours) in theirs
        .entries
        .iter()
        .flat_map(|it| beside.planned.partitions.iter().map(move |o| (it, o)))
    {
        let (first, last) = (taken.first.min(taken.last), taken.first.max(taken.last));
        let (from, to) = (
            ours.offset / theirs.sector,
            (ours.offset + ours.size) / theirs.sector,
        );
        assert!(to <= first || from > last, "{ours:?} lies in {taken:?}");
        assert!(
            from >= new.usable().0 && to - 1 <= new.usable().1 && ours.offset % MIB == 0,
            "{ours:?}"
        );
    }
    cuts(&before, &writes, theirs, &new);
    Ok((device, beside))
}

/// After each prefix of `writes`, and in the middle of each, the table is the old one or the new
/// one.
fn cuts(before: &[u8], writes: &[(u64, Vec<u8>)], theirs: &Table, new: &ExistingTable) {
    let device = MemDevice::from_bytes(before.to_vec(), theirs.sector as u32);
    let old = ExistingTable::read(&device).expect("read").expect("table");
    let list = |table: &ExistingTable| table.entries().collect::<Vec<_>>();
    let (old, new) = (list(&old), list(new));
    let judge = |words: &str| {
        let found = list(&ExistingTable::read(&device).expect("read").expect(words));
        assert!(found == old || found == new, "{words}");
    };
    for (number, (at, data)) in writes.iter().enumerate() {
        for len in [1, 20, 91, data.len() / 2, data.len() - 1] {
            device
                .write_at(*at, &data[..len.min(data.len())])
                .expect("write");
            judge(&format!("write {number}, {len} bytes of it"));
        }
        device.write_at(*at, data).expect("write");
        judge(&format!("after write {number}"));
    }
}

/// Runs a tool of the system on a file; its output, if it is content.
fn judged(tool: &str, arguments: &[&str], file: &Path) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(tool)
        .args(arguments)
        .arg(file)
        .env("PATH", path)
        .output()
        .expect(tool);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{tool}: {}: {said}", output.status);
    said
}

/// What bootctl finds: ours, whichever copy it reads.
fn found_by_bootctl(device: MemDevice, beside: &CoexistPlan, sector: u64) {
    let last = LEN - sector;
    let (first, device) = (
        Disk::open(Arc::new(MemDevice::from_bytes(
            device.bytes(),
            sector as u32,
        ))),
        device,
    );
    device.write_at(sector, &[0; 8]).expect("write");
    let second = Disk::open(Arc::new(device)).expect("by the backup");
    let first = first.expect("by the primary");
    assert_eq!(first.partitions(), second.partitions());
    let found = first.partitions();
    let ours = [
        found.esp,
        found.state,
        found.boot[0],
        found.root[0],
        found.boot[1],
        found.root[1],
    ];
    let ours = ours.into_iter().chain([found.recovery, found.data]);
    for (planned, found) in beside.planned.partitions.iter().zip(ours) {
        let found = found.expect("partition");
        assert_eq!((found.uuid, found.number), (planned.uuid, planned.number));
        assert_eq!(
            (found.first_lba * sector, found.sectors() * sector),
            (planned.offset, planned.size)
        );
    }
    assert!(
        beside
            .planned
            .partitions
            .iter()
            .all(|it| it.offset + it.size <= last)
    );
}

/// What may be wrong with one copy of a table.
const DAMAGES: [&str; 5] = [
    "none",
    "primary header",
    "primary entries",
    "backup header",
    "backup entries",
];

fn damage(device: &MemDevice, table: &Table, damage: &str) {
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

/// Tables as others make them: any order, gaps, names, attributes, any number of entries.
fn tables() -> impl Strategy<Value = Table> {
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
                    entries.push(Theirs {
                        at,
                        kind,
                        first,
                        last: pair[1] - 1,
                        attributes,
                        name,
                    });
                }
            }
            Table {
                sector,
                count,
                entries,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_others_have_stays_and_their_tools_find_nothing_wrong(table in tables(), how in 0_usize..5) {
        let device = table.disk();
        damage(&device, &table, DAMAGES[how]);
        match added(device, &table, &layout()) {
            Ok((device, beside)) => {
                let first = beside.planned.partitions[0].offset / MIB;
                prop_assert_eq!(table.first_room(11), Some(first));
                if table.sector == 512 {
                    let file = tempfile::NamedTempFile::new().expect("file");
                    std::fs::write(file.path(), device.bytes()).expect("image");
                    let said = judged("sgdisk", &["-v"], file.path());
                    prop_assert!(said.contains("No problems found"), "{said}");
                    let dumped = judged("sfdisk", &["-d"], file.path());
                    let verified = judged("sfdisk", &["--verify"], file.path());
                    prop_assert!(verified.contains("No errors detected"), "{verified}");
                    let lines = dumped.lines().filter(|line| line.contains("start=")).count();
                    prop_assert_eq!(lines, table.entries.len() + 8, "{}", dumped);
                }
                found_by_bootctl(device, &beside, table.sector);
            }
            Err(words) => {
                prop_assert!(words.starts_with("its largest free range has "), "{words}");
                prop_assert_eq!(table.first_room(11), None);
            }
        }
    }

    #[test]
    fn entries_that_make_no_sense_are_left_alone_and_nothing_is_put_on_them(
        table in tables(), wild in proptest::collection::vec((0_usize..20, any::<[u64; 2]>(), 0_u32..64), 0..6)
    ) {
        let mut table = table;
        for (at, [first, last], shift) in wild {
            table.entries.retain(|entry| entry.at != at);
            let (first, last) = (first >> shift, last >> shift);
            table.entries.push(Theirs { at, kind: [9; 16], first, last, attributes: 0, name: Vec::new() });
        }
        if let Ok((device, beside)) = added(table.disk(), &table, &layout()) {
            found_by_bootctl(device, &beside, table.sector);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 92), count in any::<u32>(), len in 1_usize..80) {
        let mut disk = vec![0; len * 512];
        let mut header = bytes;
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        header[24..32].copy_from_slice(&1_u64.to_le_bytes());
        header[80..84].copy_from_slice(&(count % 2000).to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        // Nothing would come past a wrong checksum.
        let array = vec![0; (count % 2000) as usize * 128];
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        for field in [40, 48, 72] {
            header[field + 1..field + 8].fill(0);
        }
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        if len > 1 {
            disk[512..604].copy_from_slice(&header);
        }
        let device = MemDevice::from_bytes(disk, 512);
        if let Ok(Ok(existing)) = ExistingTable::read(&device)
            && let Ok(beside) = CoexistPlan::plan(&existing, &layout(), device.len(), ID)
        {
            prop_assert!(beside.table.commit(&device).is_ok());
        }
    }
}

#[test]
fn ours_lie_in_the_first_range_that_is_large_enough() {
    // A gap of 3 MiB, one of 20, and one of 27.
    let table = Table::of(
        512,
        &[(1, ESP, 1, 4), (3, [9; 16], 7, 12), (2, [8; 16], 32, 36)],
    );
    let (device, beside) = added(table.disk(), &table, &layout()).expect("added");
    let places: Vec<_> = beside
        .planned
        .partitions
        .iter()
        .map(|it| (it.number, it.offset / MIB))
        .collect();
    assert_eq!(
        places,
        [
            (4, 12),
            (5, 14),
            (6, 15),
            (7, 16),
            (8, 18),
            (9, 19),
            (10, 21),
            (11, 22)
        ]
    );
    assert_eq!(beside.planned.partitions[7].size, MIB, "what it was given");
    let kept: Vec<_> = beside
        .planned
        .kept
        .iter()
        .map(|it| (it.number, it.offset, it.size))
        .collect();
    assert_eq!(
        kept,
        [
            (1, MIB, 3 * MIB),
            (2, 32 * MIB, 4 * MIB),
            (3, 7 * MIB, 5 * MIB)
        ]
    );
    let disk = Disk::open(Arc::new(device)).expect("disk");
    assert_eq!(
        disk.partitions().esp.expect("esp").number,
        4,
        "theirs is the first"
    );
    let rest = Layout {
        data: None,
        ..layout()
    };
    let (_, beside) = added(table.disk(), &table, &rest).expect("added");
    let data = beside.planned.partitions[7];
    assert_eq!(
        (data.offset / MIB, data.size / MIB),
        (46, 17),
        "26 MiB are needed: 20 are too few"
    );
}

#[test]
fn an_installation_of_ours_is_replaced_and_the_others_stay() {
    let table = Table::of(512, &[(1, ESP, 1, 4), (9, [8; 16], 40, 50)]);
    let (device, first) = added(table.disk(), &table, &layout()).expect("added");
    let existing = ExistingTable::read(&device).expect("read").expect("table");
    assert_eq!((existing.ours().len(), existing.others().len()), (8, 2));
    let again = CoexistPlan::plan(&existing, &layout(), LEN, Guid([8; 16])).expect("planned");
    let numbers = |it: &CoexistPlan| {
        it.planned
            .partitions
            .iter()
            .map(|it| it.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&first), [2, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(numbers(&again), numbers(&first));
    let uuids = |it: &CoexistPlan| {
        it.planned
            .partitions
            .iter()
            .map(|it| it.uuid)
            .collect::<Vec<_>>()
    };
    assert!(
        uuids(&again)
            .iter()
            .all(|uuid| !uuids(&first).contains(uuid))
    );
    again.table.commit(&device).expect("commit");
    let larger = Layout {
        root: Size(3 * MIB),
        ..layout()
    };
    let existing = ExistingTable::read(&device).expect("read").expect("table");
    CoexistPlan::plan(&existing, &larger, LEN, ID)
        .expect("planned")
        .table
        .commit(&device)
        .expect("commit");
    let now = ExistingTable::read(&device).expect("read").expect("table");
    assert_eq!((now.ours().len(), now.others()), (8, existing.others()));
    let theirs = &device.bytes()[1024..1024 + 128];
    assert_eq!(theirs, &table.array()[..128]);
}

#[test]
fn what_a_hybrid_mbr_names_is_taken_too() {
    let table = Table::of(512, &[(1, ESP, 1, 4)]);
    let device = table.disk();
    // A partition for firmware of old, at 4 to 20 MiB.
    let mut entry = [0; 16];
    entry[4] = 7;
    entry[8..12].copy_from_slice(&(4 * 2048_u32).to_le_bytes());
    entry[12..].copy_from_slice(&(16 * 2048_u32).to_le_bytes());
    device.write_at(462, &entry).expect("write");
    let (_, beside) = added(device, &table, &layout()).expect("added");
    assert_eq!(beside.planned.partitions[0].offset, 20 * MIB);
}

#[test]
fn each_reason_against_it_is_told_and_all_at_once() {
    let table = Table::of(512, &[(1, ESP, 1, 30), (2, [9; 16], 35, 60)]);
    let words = |device: &MemDevice, layout: &Layout| plan(device, layout).expect_err("refused");
    let too_large = "its largest free range has 5242880 bytes: the layout needs 11534336";
    assert_eq!(words(&table.disk(), &layout()), too_large);

    let full = Table {
        entries: (0..121)
            .map(|at| Theirs {
                at,
                ..table.entries[at % 2].clone()
            })
            .collect(),
        ..table.clone()
    };
    let entries = "its partition table has 7 unused entries, expected 8 or more";
    assert_eq!(
        words(&full.disk(), &layout()),
        format!("{entries}; {too_large}")
    );

    let blank = MemDevice::new(LEN as usize, 512);
    let none =
        "it has no GPT to install beside (primary: no partition table; backup: no partition table)";
    assert_eq!(words(&blank, &layout()), none);

    let device = table.disk();
    for at in [512, LEN - 512] {
        let mut header = [0; 92];
        device.read_at(at, &mut header).expect("read");
        header[84] = 0;
        header[85] = 1;
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        device.write_at(at, &header).expect("write");
    }
    assert!(
        words(&device, &layout()).contains("primary: partition table has an unusable entry size")
    );

    let grown = [table.disk().bytes(), vec![0; MIB as usize]].concat();
    let elsewhere = format!(
        "its partition table names sector {} for the other copy, expected {}",
        LEN / 512 - 1,
        (LEN + MIB) / 512 - 1
    );
    assert_eq!(
        words(&MemDevice::from_bytes(grown, 512), &layout()),
        format!("{elsewhere}; {too_large}")
    );

    let odd = Layout {
        root: Size(5),
        ..layout()
    };
    let misaligned = "layout: root-a has 5B: expected a multiple of 1MiB, at least 1MiB";
    assert_eq!(words(&table.disk(), &odd), misaligned);

    let uuid = plan(&Table::of(512, &[]).disk(), &layout())
        .expect("planned")
        .planned
        .partitions[3]
        .uuid;
    let device = Table::of(512, &[]).disk();
    let mut entry = [0; 128];
    entry[..16].fill(9);
    entry[16..32].copy_from_slice(&uuid.0);
    entry[32] = 40;
    entry[40] = 50;
    let array = [&entry[..], &[0; 127 * 128]].concat();
    device.write_at(1024, &array).expect("write");
    let mut header = [0; 92];
    device.read_at(512, &mut header).expect("read");
    header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    device.write_at(512, &header).expect("write");
    let same = format!("its partition 1 has the PARTUUID {uuid}, which is that of a new one");
    assert_eq!(words(&device, &layout()), same);
}

/// What a person is told of a disk with `device`'s content.
fn candidate(device: MemDevice, beside: bool, erase: Option<&str>) -> Candidate {
    let device: Arc<dyn BlockDevice> = Arc::new(device);
    let disk = disks::Disk {
        size: LEN,
        serial: Some("S-1".to_owned()),
        ..sample()[0].clone()
    };
    let wanted = DiskRequest {
        layout: &layout(),
        recovery_key_at_hand: false,
        beside,
        media: &[],
        erase,
    };
    candidates(vec![disk], &wanted, |_| inspect(&device).ok()).remove(0)
}

#[test]
fn a_disk_with_another_system_is_taken_beside_it_and_not_otherwise() {
    let table = Table::of(512, &[(1, ESP, 1, 4), (2, [9; 16], 7, 12)]);
    let beside = candidate(table.disk(), true, None);
    assert_eq!(
        (beside.problems, beside.content),
        (vec![], Some(DiskContent::Other("it has a GPT")))
    );
    assert_eq!(beside.plan.expect("plan").kept.len(), 2);
    let whole = candidate(table.disk(), false, None);
    assert_eq!(
        whole.problems,
        ["it is not empty (it has a GPT): name it with --erase S-1 to erase it"]
    );
    assert!(whole.plan.expect("plan").kept.is_empty());
    let blank = candidate(MemDevice::new(LEN as usize, 512), true, None);
    assert!(
        blank.problems[0].starts_with("it has no GPT to install beside"),
        "{:?}",
        blank.problems
    );
}

#[test]
fn what_is_left_of_ours_is_replaced_only_if_that_is_said() {
    let table = Table::of(512, &[(1, ESP, 1, 4)]);
    let (device, _) = added(table.disk(), &table, &layout()).expect("added");
    let bytes = device.bytes();
    let device = || MemDevice::from_bytes(bytes.clone(), 512);
    // There is a table and no boot record: it may be anybody's installation.
    let lost = candidate(device(), true, None);
    let words = "RayOS with a lost boot record is installed on it: start it, or name it with --erase S-1 to install anew";
    assert_eq!(lost.problems, [words]);
    assert_eq!(candidate(device(), true, Some("S-1")).problems, [""; 0]);
    // Nor is there a partition for it.
    let existing = ExistingTable::read(&device())
        .expect("read")
        .expect("table");
    let state: Vec<_> = existing
        .ours()
        .into_iter()
        .filter(|it| it.kind == record::STATE_TYPE)
        .collect();
    let remains = device();
    existing
        .patched(&state, &[])
        .commit(&remains)
        .expect("commit");
    let found = candidate(remains, true, None);
    assert_eq!(found.content, Some(DiskContent::Remains));
    assert!(
        found.problems[0].contains("it has partitions of RayOS"),
        "{:?}",
        found.problems
    );
}

#[test]
fn who_would_erase_another_system_with_ours_is_told_of_it() {
    let table = Table::of(512, &[(1, ESP, 1, 4)]);
    let (device, _) = added(table.disk(), &table, &layout()).expect("added");
    let found = || ExistingTable::read(&device).expect("read");
    let problems = |beside, table: Result<ExistingTable, _>| {
        let content = DiskContent::Installed {
            version: "1.0.0".to_owned(),
        };
        let disk = disks::Disk {
            size: LEN,
            serial: Some("S-1".to_owned()),
            ..sample()[0].clone()
        };
        let wanted = DiskRequest {
            layout: &layout(),
            recovery_key_at_hand: false,
            beside,
            media: &[],
            erase: None,
        };
        candidates(vec![disk], &wanted, |_| {
            Some(DiskFindings {
                bitlocker: Vec::new(),
                content: content.clone(),
                table: table.clone(),
            })
        })
        .remove(0)
        .problems
    };
    let alone =
        "RayOS 1.0.0 is installed on it: start it, or name it with --erase S-1 to install anew";
    assert_eq!(problems(true, found()), [alone], "the other system stays");
    assert_eq!(
        problems(false, DiskFindings::blank().table),
        [alone],
        "there is no other"
    );
    let both = "RayOS 1.0.0 is installed on it, beside another system: start it, or name it with --erase S-1 to erase \
                both, or RayOS alone with --beside as well";
    assert_eq!(problems(false, found()), [both]);
}

#[test]
fn the_plan_shows_what_is_added_and_what_stays() {
    let table = Table::of(512, &[(1, ESP, 1, 4), (3, [9; 16], 7, 12)]);
    let target = Target::Disk("S-1".to_owned());
    let report = PlanReport::new(vec![candidate(table.disk(), true, None)], &target, false);
    let json = serde_json::to_value(&report).expect("json");
    let (plan, disk) = (&json["plan"], Guid([0x33; 16]).to_string());
    assert_eq!(plan["disk_guid"], disk);
    let esp = &plan["partitions"][0];
    assert_eq!(
        (&esp["purpose"], &esp["number"], &esp["offset"]),
        (&json!("esp"), &json!(2), &json!(12 * MIB))
    );
    let kept = plan["kept"].as_array().expect("stays");
    assert_eq!(kept.len(), 2);
    let theirs = (
        &kept[1]["number"],
        &kept[1]["offset"],
        &kept[1]["size"],
        &kept[1]["name"],
    );
    assert_eq!(
        theirs,
        (&json!(3), &json!(7 * MIB), &json!(5 * MIB), &json!("t"))
    );
    let whole = PlanReport::new(
        vec![candidate(table.disk(), false, Some("S-1"))],
        &target,
        false,
    );
    assert_eq!(
        serde_json::to_value(&whole).expect("json")["plan"].get("kept"),
        None
    );
}
