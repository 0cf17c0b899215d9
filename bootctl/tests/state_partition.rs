//! The state partition on a disk that an independent tool partitioned.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{BlockDevice as _, MemDevice};
use bootctl::disk::{Disk, DiskError};
use bootctl::log::EventLog;
use bootctl::store::{RecordStore, StoreError};
use fixture::{DISK_LEN, unused};
use record::event::{Event, Kind};
use record::{COPY_OFFSETS, Guid, Pair, PartitionName, Record, Slot, SlotState, Status};
use std::process::Command;
use std::sync::Arc;

/// A disk with our partitions.
fn image() -> Arc<MemDevice> {
    Arc::new(MemDevice::from_bytes(fixture::image(), 512))
}

#[test]
fn partitions_of_sgdisk_are_found_in_either_table() {
    let image = image();
    let disk = Disk::open(image.clone()).unwrap();
    assert!(disk.primary_error().is_none());
    assert_eq!(
        disk.guid().to_string(),
        "11111111-2222-3333-4444-555555555555"
    );
    let boot_b = disk.partitions().boot(Slot::B).unwrap();
    assert_eq!((boot_b.number, boot_b.sectors()), (4, 4096));
    assert_eq!(
        boot_b.uuid.to_string(),
        "aaaaaaaa-0000-0000-0000-000000000004"
    );

    image.write_at(1024, &[0xff; 16]).unwrap();
    let from_backup = Disk::open(image.clone()).unwrap();
    assert!(from_backup.primary_error().is_some());
    assert_eq!(from_backup.partitions(), disk.partitions());

    image.write_at(DISK_LEN - 512, &[0; 512]).unwrap();
    let error = Disk::open(image).unwrap_err();
    assert_eq!(
        error.to_string(),
        "primary: partition table is damaged; backup: no partition table"
    );
}

#[test]
fn a_window_ends_where_its_partition_ends() {
    let disk = Disk::open(image()).unwrap();
    let state = disk.state().unwrap();
    assert_eq!(state.len(), 1024 * 1024);
    let next = disk.boot(Slot::A).unwrap();
    for (offset, count) in [(state.len(), 1), (state.len() - 1, 2), (u64::MAX, 1)] {
        assert!(state.write_at(offset, &vec![9; count]).is_err());
        assert!(state.read_at(offset, &mut vec![9; count]).is_err());
    }
    let mut first = [1; 512];
    next.read_at(0, &mut first).unwrap();
    assert_eq!(first, [0; 512], "the next partition is untouched");
}

#[test]
fn a_write_goes_to_the_older_copy_and_either_copy_is_enough() {
    let image = image();
    let disk = Disk::open(image.clone()).unwrap();
    let store = RecordStore::open(&disk).unwrap();
    assert!(matches!(store.read(), Err(StoreError::Lost(_))));
    let first = store.initialise(&unused(&disk)).unwrap();
    assert!(matches!(store.pair(), Pair::Valid { both: true, .. }));

    let second = store.write(&Record { floor: 3, ..first }).unwrap();
    assert_eq!((second.seq, store.read().unwrap()), (first.seq + 1, second));
    let before = image.bytes();
    assert_eq!(store.write(&second).unwrap(), second);
    assert!(
        image.bytes() == before,
        "an unchanged record is not written"
    );
    let stale = store.write(&Record { floor: 9, ..first }).unwrap_err();
    assert_eq!(
        stale.to_string(),
        "boot record: changed by another program: sequence number 2, expected 1"
    );

    for offset in COPY_OFFSETS {
        disk.state().unwrap().write_at(offset, &[0; 100]).unwrap();
        assert!(matches!(store.pair(), Pair::Valid { both: false, .. }));
        store.write(&store.read().unwrap()).unwrap();
        assert!(
            matches!(store.pair(), Pair::Valid { both: true, .. }),
            "the damaged copy is repaired"
        );
        assert_eq!(store.read().unwrap().compatible.as_str(), "rayos-x86_64");
    }
}

#[test]
fn a_record_of_a_later_version_or_of_another_disk_is_not_changed() {
    let image = image();
    let disk = Disk::open(image.clone()).unwrap();
    let store = RecordStore::open(&disk).unwrap();
    let ours = unused(&disk);
    let foreign = Record {
        disk_guid: Guid([1; 16]),
        ..ours
    };
    assert!(matches!(
        store.initialise(&foreign),
        Err(StoreError::OtherDisk { .. })
    ));

    let mut later = ours.encode(0);
    later[8] = 2;
    let crc = crc32fast::hash(&later[..4092]);
    later[4092..].copy_from_slice(&crc.to_le_bytes());
    disk.state().unwrap().write_at(0, &later).unwrap();
    let before = image.bytes();
    assert_eq!(
        store.read().unwrap_err().to_string(),
        "boot record: version 2, expected 1"
    );
    assert!(matches!(store.write(&ours), Err(StoreError::Newer(2))));
    assert!(matches!(store.initialise(&ours), Err(StoreError::Newer(2))));
    assert!(image.bytes() == before);
    store.erase().unwrap();
    store.initialise(&ours).unwrap();
}

#[test]
fn a_disk_without_state_is_not_ours() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK_LEN).unwrap();
    assert!(
        Command::new("sgdisk")
            .arg("--new=1:0:+1M")
            .arg(file.path())
            .output()
            .unwrap()
            .status
            .success()
    );
    let device = MemDevice::from_bytes(std::fs::read(file.path()).unwrap(), 512);
    let disk = Disk::open(Arc::new(device)).unwrap();
    assert!(matches!(
        RecordStore::open(&disk),
        Err(StoreError::Disk(DiskError::Missing(PartitionName::State)))
    ));
}

#[test]
fn the_ring_keeps_the_last_224_events_in_order() {
    let disk = Disk::open(image()).unwrap();
    let log = EventLog::open(&disk).unwrap();
    assert_eq!(log.events().unwrap(), []);
    for number in 1..=500_u64 {
        let mut event = Event::new(Kind::Note, None);
        event.time = number;
        assert_eq!(log.append(&event).unwrap(), number);
    }
    let events = log.events().unwrap();
    assert!(events.iter().map(|event| event.seq).eq(277..=500));
    assert!(events.iter().all(|event| event.time == event.seq));
}

#[test]
fn each_status_is_read_back_and_does_not_change_the_other_slot() {
    let disk = Disk::open(image()).unwrap();
    let store = RecordStore::open(&disk).unwrap();
    let first = store.initialise(&unused(&disk)).unwrap();
    for status in [
        Status::Pending { tries_left: 2 },
        Status::Good { budget_left: 8 },
        Status::Unbootable,
    ] {
        let now = store.read().unwrap();
        let state = SlotState {
            status,
            ..*now.slot(Slot::B)
        };
        store.write(&now.with_slot(Slot::B, state)).unwrap();
        assert_eq!(store.read().unwrap().slot(Slot::B).status, status);
        assert_eq!(store.read().unwrap().slot(Slot::A), first.slot(Slot::A));
    }
}
