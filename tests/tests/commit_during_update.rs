//! A release commits while an update writes the other slot and holds the lock of the disk.

use bootctl::device::{Access, BlockDevice, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::MemVars;
use bootctl::machine::Machine;
use bootctl::store::RecordStore;
use record::{Choice, Guid, Handoff, Slot, Status, Why};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, chain, options};
use updater::Outcome;
use updater::source::MemorySource;

const GOOD: Status = Status::Good { budget_left: 8 };

/// The disk of the update. Its first write into the root partition of slot B runs `meanwhile`
/// first.
struct Slow<F> {
    disk: FileDevice,
    root_b: std::ops::Range<u64>,
    meanwhile: F,
    done: AtomicBool,
}

impl<F: Fn() + Send + Sync> BlockDevice for Slow<F> {
    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }
    fn len(&self) -> u64 {
        self.disk.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.root_b.contains(&offset) && !self.done.swap(true, Ordering::SeqCst) {
            (self.meanwhile)();
        }
        self.disk.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_medium_at(offset, into)
    }
    fn lock(&self) -> io::Result<()> {
        self.disk.lock()
    }
    fn unlock(&self) {
        self.disk.unlock();
    }
}

/// Commits slot A, as `rayos-bootctl commit` does.
fn commit(path: &Path) {
    let machine = Machine::open(path, Box::new(MemVars::new()), Access::Record)
        .expect("opened without the lock");
    let disk_guid = machine.disk.guid();
    let handoff = Handoff {
        verified_root: None,
        choice: Choice::Slot(Slot::A),
        why: Why::Trial,
        left: 2,
        seq: 1,
        disk_guid,
        boot_uuid: Guid::ZERO,
        root_uuid: Guid::ZERO,
        state_uuid: Guid::ZERO,
    };
    let change = Machine {
        handoff: Some(handoff),
        ..machine
    }
    .commit(0)
    .expect("committed");
    assert!(change.copy_error.is_none());
    assert_eq!(change.after.slot(Slot::A).status, GOOD);
}

/// The first release is on trial and B is empty, so an update is allowed. Commit and update must
/// both take effect.
#[tokio::test(flavor = "multi_thread")]
async fn commit_and_update_both_take_effect() {
    let machine = MemoryMachine::new(512);
    machine.install(FIRST.bundle()).await.expect("installed");
    assert!(matches!(
        machine.record().slot(Slot::A).status,
        Status::Pending { .. }
    ));
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("disk.img");
    std::fs::write(&path, machine.device.bytes()).expect("image");
    let root = machine.disk().root(Slot::B).expect("root");
    let device = FileDevice::open(&path, Access::Write, SectorSize::Detect).expect("image");
    assert!(
        FileDevice::open(&path, Access::Write, SectorSize::Detect).is_err(),
        "the disk is locked"
    );
    let image = path.clone();
    let slow = Arc::new(Slow {
        disk: device,
        root_b: root.start()..root.start() + root.len(),
        meanwhile: move || commit(&image),
        done: AtomicBool::new(false),
    });
    let source = MemorySource::new(SECOND.bundle(), 10_000);
    let booted = Choice::Slot(Slot::A);
    let outcome = machine
        .update_on(slow.clone(), source, booted, &options(&chain()))
        .await
        .expect("updated");
    assert!(matches!(outcome, Outcome::Activated(_)));
    assert!(
        slow.done.load(Ordering::SeqCst),
        "the commit did not run during the update"
    );
    drop(slow);
    let reader = FileDevice::open(&path, Access::Read, SectorSize::Detect).expect("image");
    let disk = Disk::open(Arc::new(reader)).expect("disk");
    let record = RecordStore::open(&disk)
        .expect("store")
        .read()
        .expect("record");
    assert_eq!(
        (record.default, record.slot(Slot::A).status, record.floor),
        (Slot::A, GOOD, 1)
    );
    assert_eq!(
        record.slot(Slot::B).status,
        Status::Pending { tries_left: 3 }
    );
}

/// Two programs that change the record at the same time wait for each other: no change is lost or
/// refused.
#[test]
fn concurrent_changes_of_the_record_are_serialized() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .expect("runtime");
    let machine = MemoryMachine::new(512);
    runtime
        .block_on(machine.install(FIRST.bundle()))
        .expect("installed");
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("disk.img");
    std::fs::write(&path, machine.device.bytes()).expect("image");
    let before = machine.record();
    let mut others: Vec<_> = (0..2)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "raises_the_floor", "--nocapture"])
                .env("RAYOS_TEST_DISK", &path)
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("started")
        })
        .collect();
    for other in &mut others {
        assert!(other.wait().expect("ended").success());
    }
    let device = FileDevice::open(&path, Access::Read, SectorSize::Detect).expect("image");
    let disk = Disk::open(Arc::new(device)).expect("disk");
    let after = RecordStore::open(&disk)
        .expect("store")
        .read()
        .expect("record");
    assert_eq!(
        (after.floor, after.seq),
        (before.floor + 2 * RAISES, before.seq + 2 * RAISES)
    );
}

/// Number of changes by each program.
const RAISES: u64 = 200;

/// The body of the two programs of the test above. Without them it does nothing.
#[test]
fn raises_the_floor() {
    let Some(path) = std::env::var_os("RAYOS_TEST_DISK") else {
        return;
    };
    let machine =
        Machine::open(Path::new(&path), Box::new(MemVars::new()), Access::Record).expect("disk");
    for _ in 0..RAISES {
        let raised = |record: &record::Record| {
            Ok::<_, bootctl::store::StoreError>(record::Record {
                floor: record.floor + 1,
                ..*record
            })
        };
        machine.store.update(raised).expect("record");
    }
}
