//! Adding our partitions to a table, with every check of the outcome.

use super::foreign_table::{ForeignTable, LEN, MIB};
use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use installer::disk::coexist::CoexistPlan;
use installer::disk::layout::{Layout, Size};
use installer::disk::table::ExistingTable;
use record::Guid;
use std::sync::{Arc, Mutex};

pub(crate) const ID: Guid = Guid([7; 16]);

pub(crate) fn layout() -> Layout {
    let mib = |mib: u64| Size(mib * MIB);
    Layout {
        esp: mib(2),
        boot: mib(1),
        root: mib(2),
        recovery: mib(1),
        data: Some(mib(1)),
    }
}

pub(crate) fn plan(device: &MemDevice, layout: &Layout) -> Result<CoexistPlan, String> {
    let existing = ExistingTable::read(device)
        .expect("read")
        .map_err(|unfit| unfit.to_string())?;
    CoexistPlan::plan(&existing, layout, LEN, ID).map_err(|reasons| reasons.to_string())
}

/// A device that records what was written to it.
pub(crate) struct Recorder(MemDevice, Mutex<Vec<(u64, Vec<u8>)>>);

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

/// Adds our partitions to the table of `device` and checks the result: at every power cut, too, the
/// other system is in the table.
pub(crate) fn added(
    device: MemDevice,
    theirs: &ForeignTable,
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
        assert!(to <= first || from > last, "{ours:?} overlaps {taken:?}");
        assert!(
            from >= new.usable().0 && to - 1 <= new.usable().1 && ours.offset % MIB == 0,
            "{ours:?}"
        );
    }
    cuts(&before, &writes, theirs, &new);
    Ok((device, beside))
}

/// Asserts that the table is the old or the new one after each prefix of `writes`, and in the
/// middle of each write.
pub(crate) fn cuts(
    before: &[u8],
    writes: &[(u64, Vec<u8>)],
    theirs: &ForeignTable,
    new: &ExistingTable,
) {
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

/// Asserts that bootctl finds our partitions in either copy.
pub(crate) fn found_by_bootctl(device: MemDevice, beside: &CoexistPlan, sector: u64) {
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
