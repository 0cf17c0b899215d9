//! Where our partitions are placed, and every reason for a refusal.

use super::added::{ID, added, layout, plan};
use super::foreign_table::{ESP, ForeignEntry, ForeignTable, LEN, MIB};
use bootctl::device::{BlockDevice as _, MemDevice};
use bootctl::disk::Disk;
use installer::disk::coexist::CoexistPlan;
use installer::disk::layout::{Layout, Size};
use installer::disk::table::ExistingTable;
use record::Guid;
use std::sync::Arc;

#[test]
fn our_partitions_are_in_the_first_range_that_is_large_enough() {
    // A gap of 3 MiB, one of 20, and one of 27.
    let table = ForeignTable::of(
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
fn an_existing_installation_is_replaced_and_other_systems_stay() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4), (9, [8; 16], 40, 50)]);
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
fn the_partitions_of_a_hybrid_mbr_are_not_overwritten() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4)]);
    let device = table.disk();
    // A partition for old firmware, at 4 to 20 MiB.
    let mut entry = [0; 16];
    entry[4] = 7;
    entry[8..12].copy_from_slice(&(4 * 2048_u32).to_le_bytes());
    entry[12..].copy_from_slice(&(16 * 2048_u32).to_le_bytes());
    device.write_at(462, &entry).expect("write");
    let (_, beside) = added(device, &table, &layout()).expect("added");
    assert_eq!(beside.planned.partitions[0].offset, 20 * MIB);
}

#[test]
fn every_reason_is_reported_at_once() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 30), (2, [9; 16], 35, 60)]);
    let words = |device: &MemDevice, layout: &Layout| plan(device, layout).expect_err("refused");
    let too_large = "its largest free range has 5242880 bytes, the layout needs 11534336";
    assert_eq!(words(&table.disk(), &layout()), too_large);

    let full = ForeignTable {
        entries: (0..121)
            .map(|at| ForeignEntry {
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
    let misaligned = "layout: size of root-a is 5B, expected a multiple of 1MiB";
    assert_eq!(words(&table.disk(), &odd), misaligned);

    let uuid = plan(&ForeignTable::of(512, &[]).disk(), &layout())
        .expect("planned")
        .planned
        .partitions[3]
        .uuid;
    let device = ForeignTable::of(512, &[]).disk();
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
    let same = format!("its partition 1 already has the PARTUUID {uuid} of a new partition");
    assert_eq!(words(&device, &layout()), same);
}
