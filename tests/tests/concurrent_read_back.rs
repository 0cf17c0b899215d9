//! A long release is read back while it is written: every range is read after a flush that follows its
//! last write, and lost writes are found.

use bootctl::device::{BlockDevice, MemDevice};
use record::{Choice, Slot, Status};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tests::memory_machine::{MemoryMachine, Sample, chain, image, installed_on, options};
use updater::source::MemorySource;
use updater::{ApplyFailure, Outcome};

const MIB: u64 = 1 << 20;
/// MiB of the root image: more than two parts of 64.
const ROOT: u64 = 150;
/// Writes to this MiB wait until the first range was read back.
const GATE: u64 = 140;

/// Operations, in the order in which they begin or end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DiskOperation {
    Written(Range<u64>),
    FlushBegan,
    FlushEnded,
    /// A read of the medium, at its beginning.
    Read(Range<u64>),
}

/// A disk in memory that records the operations of a root partition, and may lose writes of one byte
/// of it.
struct RecordingDisk {
    disk: Arc<MemDevice>,
    root: Range<u64>,
    lost_write: Option<u64>,
    done: Mutex<Vec<DiskOperation>>,
    was_read: Condvar,
}

impl RecordingDisk {
    fn over(machine: &MemoryMachine, lost_write: Option<u64>) -> Arc<Self> {
        let root = machine.disk().root(Slot::B).expect("root");
        let root = root.start()..root.start() + root.len();
        let (done, was_read) = (Mutex::default(), Condvar::new());
        Arc::new(Self {
            disk: Arc::clone(&machine.device),
            root,
            lost_write,
            done,
            was_read,
        })
    }

    /// The range within the root partition, if `len` bytes at `offset` are in it.
    fn in_root(&self, offset: u64, len: usize) -> Option<Range<u64>> {
        self.root
            .contains(&offset)
            .then(|| offset - self.root.start..offset - self.root.start + len as u64)
    }

    fn did(&self, did: DiskOperation) {
        self.done.lock().expect("lock").push(did);
    }

    /// Waits until the first range was read back.
    fn wait(&self) {
        let done = self.done.lock().expect("lock");
        let nothing_read = |done: &mut Vec<DiskOperation>| {
            !done.iter().any(|did| matches!(did, DiskOperation::Read(_)))
        };
        let (_done, waited) = self
            .was_read
            .wait_timeout_while(done, Duration::from_secs(120), nothing_read)
            .expect("lock");
        assert!(
            !waited.timed_out(),
            "no range is read back before all are written"
        );
    }
}

impl BlockDevice for RecordingDisk {
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
        let Some(bytes) = self.in_root(offset, data.len()) else {
            return self.disk.write_at(offset, data);
        };
        if bytes.contains(&(GATE * MIB)) {
            self.wait();
        }
        if !self.lost_write.is_some_and(|at| bytes.contains(&at)) {
            self.disk.write_at(offset, data)?;
        }
        self.did(DiskOperation::Written(bytes));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.did(DiskOperation::FlushBegan);
        self.disk.flush()?;
        self.did(DiskOperation::FlushEnded);
        Ok(())
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(bytes) = self.in_root(offset, into.len()) {
            self.did(DiskOperation::Read(bytes));
            self.was_read.notify_all();
        }
        self.disk.read_at(offset, into)
    }
}

/// Applies a release with a long root image, on a disk that may lose writes of a byte of it.
async fn updated(
    lost_write: Option<u64>,
) -> (
    MemoryMachine,
    Arc<RecordingDisk>,
    Result<Outcome, ApplyFailure>,
) {
    let machine = installed_on(MemoryMachine::with_root(512, ROOT + 10)).await;
    let told = RecordingDisk::over(&machine, lost_write);
    let long = Sample {
        version: "1.1.0",
        index: 2,
        seed: 2,
    };
    let images = [
        ("boot", 700_000),
        ("root", (ROOT * MIB) as usize),
        ("recovery", 500_000),
        ("guard", 100_000),
    ];
    let images = images.map(|(role, len)| (role, image(len as u64, len)));
    let source = MemorySource::new(long.bundle_of(&images, "test-machine", 1), 1 << 20);
    let device = Arc::clone(&told) as Arc<dyn BlockDevice>;
    let outcome = machine
        .update_on(device, source, Choice::Slot(Slot::A), &options(&chain()))
        .await;
    (machine, told, outcome)
}

/// Returns the index in `done` of the last write to any of `bytes`.
fn last_write(done: &[DiskOperation], bytes: &Range<u64>) -> Option<usize> {
    let touches = |written: &Range<u64>| written.start < bytes.end && bytes.start < written.end;
    done.iter()
        .rposition(|did| matches!(did, DiskOperation::Written(written) if touches(written)))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_back_after_a_flush_that_follows_its_last_write() {
    let (machine, told, outcome) = updated(None).await;
    assert!(matches!(outcome, Ok(Outcome::Activated(_))), "{outcome:?}");
    assert_eq!(
        machine.record().slot(Slot::B).status,
        Status::Pending { tries_left: 3 }
    );
    let done = told.done.lock().expect("lock");
    let mut read = 0;
    for (at, did) in done.iter().enumerate() {
        let DiskOperation::Read(bytes) = did else {
            continue;
        };
        read += bytes.end - bytes.start;
        // A new slot has zeroes already.
        let written = last_write(&done, bytes).unwrap_or(0);
        assert!(written < at, "{bytes:?} is written after it was read");
        // A whole flush is between them.
        let between = &done[written..at];
        let began = between
            .iter()
            .position(|did| *did == DiskOperation::FlushBegan);
        let ended =
            began.is_some_and(|began| between[began..].contains(&DiskOperation::FlushEnded));
        assert!(
            ended,
            "{bytes:?} is read, and was not flushed since it was written"
        );
    }
    // 38,400 blocks; the hash tree has a superblock and 300 + 3 + 1 blocks.
    let tree = 305 * 4096;
    assert_eq!(read, ROOT * MIB + tree);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_write_is_found_while_the_update_writes() {
    let (machine, told, outcome) = updated(Some(5_000_000)).await;
    let failure = outcome.expect_err("a write was lost");
    let text = failure.to_string();
    assert!(
        text.starts_with("root-b: offset ")
            && text.ends_with("read back other bytes than were written"),
        "{text}"
    );
    assert_eq!(failure.disarmed, Some(Slot::B));
    let record = machine.record();
    assert!(!record.slot(Slot::B).is_bootable() && record.slot(Slot::A).is_good());
    let read = told
        .done
        .lock()
        .expect("lock")
        .iter()
        .filter(|did| matches!(did, DiskOperation::Read(_)))
        .count() as u64;
    assert!(
        read * MIB < ROOT * MIB,
        "the update continued after {read} reads"
    );
}
