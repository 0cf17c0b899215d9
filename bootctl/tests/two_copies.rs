//! A decision survives the loss of either copy of the record, and each power cut before that leaves
//! a valid state.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::efivars::MemVars;
use bootctl::log::EventLog;
use bootctl::machine::{Machine, MachineError};
use bootctl::store::{RecordStore, StoreError};
use record::{
    COPY_OFFSETS, Choice, Guid, Handoff, RECORD_LEN, Reason, Record, Request, Slot, Status, Tried,
    Why, decide,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const GOOD: Status = Status::Good { budget_left: 8 };

/// A disk that loses its power, or has a bad sector.
#[derive(Debug)]
struct Fragile {
    memory: MemDevice,
    /// Number of writes that still reach the medium; of the next one a half does.
    left: AtomicUsize,
    /// Offset that cannot be written.
    bad: Option<u64>,
    /// Number of writes to copies of the record.
    records: AtomicUsize,
}

impl Fragile {
    fn new(image: Vec<u8>, left: usize, bad: Option<u64>) -> Arc<Self> {
        let memory = MemDevice::from_bytes(image, 512);
        Arc::new(Self {
            memory,
            left: AtomicUsize::new(left),
            bad,
            records: AtomicUsize::new(0),
        })
    }
}

impl BlockDevice for Fragile {
    fn sector_size(&self) -> u32 {
        512
    }
    fn len(&self) -> u64 {
        self.memory.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.bad == Some(offset) {
            return Err(io::Error::other("bad sector"));
        }
        let is_record = data.starts_with(b"RAYOSREC");
        self.records
            .fetch_add(usize::from(is_record), Ordering::Relaxed);
        match self.left.load(Ordering::Relaxed) {
            0 => Err(io::Error::other("no power")),
            1 => {
                self.left.store(0, Ordering::Relaxed);
                self.memory.write_at(offset, &data[..data.len() / 2])?;
                Err(io::Error::other("power cut"))
            }
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                self.memory.write_at(offset, data)
            }
        }
    }
    fn flush(&self) -> io::Result<()> {
        self.memory.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read_medium_at(offset, into)
    }
}

fn disk(device: Arc<dyn BlockDevice>) -> Disk {
    Disk::open(device).unwrap()
}

fn store(image: &[u8]) -> RecordStore {
    RecordStore::open(&disk(Arc::new(MemDevice::from_bytes(image.to_vec(), 512)))).unwrap()
}

/// Returns the record with A Good and B started with `left` tries left, as the guard leaves it.
fn on_trial(left: u8) -> (Vec<u8>, Record) {
    let device = Arc::new(MemDevice::from_bytes(fixture::image(), 512));
    let disk = disk(device.clone());
    let store = RecordStore::open(&disk).unwrap();
    let record = Record {
        floor: 1,
        ..fixture::unused(&disk)
    };
    let record = fixture::holding(record, Slot::A, GOOD, "1.0.0", 1);
    let before = fixture::holding(
        record,
        Slot::B,
        Status::Pending {
            tries_left: left + 1,
        },
        "1.1.0",
        2,
    );
    store.initialise(&before).unwrap();
    let before = store.read().unwrap();
    let launched = fixture::holding(
        before,
        Slot::B,
        Status::Pending { tries_left: left },
        "1.1.0",
        2,
    );
    let launched = store.write(&launched).unwrap();
    (device.bytes(), launched)
}

fn machine(device: Arc<Fragile>, booted: Slot) -> Machine {
    let disk = disk(device);
    let (store, log) = (
        RecordStore::open(&disk).unwrap(),
        EventLog::open(&disk).unwrap(),
    );
    let handoff = Handoff {
        verified_root: None,
        choice: Choice::Slot(booted),
        why: Why::Trial,
        left: 0,
        seq: 1,
        disk_guid: disk.guid(),
        boot_uuid: Guid::ZERO,
        root_uuid: Guid::ZERO,
        state_uuid: Guid::ZERO,
    };
    Machine {
        disk,
        store,
        log,
        vars: Box::new(MemVars::new()),
        handoff: Some(handoff),
        node: None,
    }
}

/// Returns the image with one copy of the record overwritten.
fn without(image: &[u8], copy: usize) -> Vec<u8> {
    let start = disk(Arc::new(MemDevice::from_bytes(image.to_vec(), 512)))
        .state()
        .unwrap()
        .start();
    let at = (start + COPY_OFFSETS[copy]) as usize;
    let mut image = image.to_vec();
    image[at..at + RECORD_LEN].fill(0x5a);
    image
}

/// Returns what the next boot starts.
fn next(record: &Record) -> Choice {
    match decide(record, Request::Plain, Tried::default()) {
        record::Decision::Launch { choice, .. } => choice,
        record::Decision::GiveUp { .. } => panic!("something can be started"),
    }
}

#[test]
fn a_commit_survives_the_loss_of_either_copy_even_after_the_last_try() {
    let (image, _) = on_trial(0);
    let device = Fragile::new(image, usize::MAX, None);
    let change = machine(device.clone(), Slot::B).commit(0).unwrap();
    assert!(change.copy_error.is_none());
    assert_eq!(
        device.records.load(Ordering::Relaxed),
        2,
        "one write for each copy"
    );
    let committed = device.memory.bytes();
    for copy in [0, 1] {
        let left = store(&without(&committed, copy)).read().unwrap();
        assert_eq!(left, change.after, "without copy {copy}");
        assert_eq!(
            (left.default, left.slot(Slot::B).status, left.floor),
            (Slot::B, GOOD, 1)
        );
        assert_eq!(next(&left), Choice::Slot(Slot::B));
    }
}

#[test]
fn a_commit_that_is_cut_leaves_a_trial_or_a_commit_and_the_next_one_completes_it() {
    let (image, trial) = on_trial(1);
    let mut writes = 0;
    loop {
        writes += 1;
        let device = Fragile::new(image.clone(), writes, None);
        let outcome = machine(device.clone(), Slot::B).commit(0);
        let cut = device.memory.bytes();
        let found = store(&cut).read().unwrap();
        let status = found.slot(Slot::B).status;
        assert!(
            status == GOOD || found == trial,
            "cut in write {writes}: {status:?}"
        );
        assert_eq!(
            outcome.is_ok(),
            status == GOOD,
            "a failed commit is reported as failed"
        );
        // The same boot again, as after a restart of the service.
        let again = Fragile::new(cut, usize::MAX, None);
        machine(again.clone(), Slot::B).commit(0).unwrap();
        for copy in [0, 1] {
            let left = store(&without(&again.memory.bytes(), copy)).read().unwrap();
            assert_eq!(
                left.slot(Slot::B).status,
                GOOD,
                "cut in write {writes}, then without copy {copy}"
            );
        }
        if device.left.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    assert_eq!(
        writes, 4,
        "two copies and an event, and one run without a cut"
    );
}

#[test]
fn a_plain_boot_writes_one_copy_and_a_bad_sector_under_the_other_does_not_fail_a_commit() {
    let (image, _) = on_trial(2);
    let device = Fragile::new(image.clone(), usize::MAX, None);
    machine(device.clone(), Slot::B).commit(0).unwrap();
    // The guard takes one from the budget at the next boot, and the commit refills it.
    let store_of = RecordStore::open(&disk(device.clone())).unwrap();
    let record = store_of.read().unwrap();
    store_of
        .write(&fixture::holding(
            record,
            Slot::B,
            Status::Good { budget_left: 7 },
            "1.1.0",
            2,
        ))
        .unwrap();
    device.records.store(0, Ordering::Relaxed);
    machine(device.clone(), Slot::B).commit(0).unwrap();
    assert_eq!(device.records.load(Ordering::Relaxed), 1);

    // The trial was counted in copy 1, so the commit goes to copy 0 first.
    let start = disk(device).state().unwrap().start();
    let device = Fragile::new(image.clone(), usize::MAX, Some(start + COPY_OFFSETS[1]));
    let change = machine(device.clone(), Slot::B).commit(0).unwrap();
    assert_eq!(
        change.copy_error.unwrap().to_string(),
        "boot record: bad sector"
    );
    assert_eq!(
        store(&device.memory.bytes())
            .read()
            .unwrap()
            .slot(Slot::B)
            .status,
        GOOD
    );
    let device = Fragile::new(image, usize::MAX, Some(start + COPY_OFFSETS[0]));
    let refused = machine(device, Slot::B).commit(0);
    assert!(matches!(
        refused,
        Err(MachineError::Store(StoreError::Io(_)))
    ));
}

#[test]
fn a_slot_ruled_out_by_an_operator_stays_so_without_the_newer_copy() {
    let (image, _) = on_trial(1);
    let device = Fragile::new(image, usize::MAX, None);
    machine(device.clone(), Slot::A)
        .mark_bad(Slot::B, 0)
        .unwrap();
    for copy in [0, 1] {
        let left = store(&without(&device.memory.bytes(), copy))
            .read()
            .unwrap();
        assert_eq!(
            (left.slot(Slot::B).status, left.slot(Slot::B).reason),
            (Status::Unbootable, Reason::MarkedBad)
        );
    }
}
