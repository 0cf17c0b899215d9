//! A long release is read back while it is written: what is read was flushed since its last write,
//! and what the disk did not take is found.

mod lab;

use bootctl::device::{BlockDevice, MemDevice};
use lab::{Lab, Sample, image, installed_on, options, trust};
use record::{Choice, Slot, Status};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use updater::source::MemorySource;
use updater::{Failure, Outcome};

const MIB: u64 = 1 << 20;
/// MiB of the root image: two parts of 64, and more.
const ROOT: u64 = 150;
/// What is written to this MiB of it waits until something was read back.
const GATE: u64 = 140;

/// What happened, in the order in which it began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Written(Range<u64>),
    FlushBegan,
    FlushEnded,
    /// From the medium, beginning now.
    Read(Range<u64>),
}

/// A disk in memory that tells what was done to a root partition, and may forget what is written to
/// one byte of it.
struct Told {
    disk: Arc<MemDevice>,
    root: Range<u64>,
    forgets: Option<u64>,
    done: Mutex<Vec<Did>>,
    was_read: Condvar,
}

impl Told {
    fn over(lab: &Lab, forgets: Option<u64>) -> Arc<Self> {
        let root = lab.disk().root(Slot::B).expect("root");
        let root = root.start()..root.start() + root.len();
        let (done, was_read) = (Mutex::default(), Condvar::new());
        Arc::new(Self {
            disk: Arc::clone(&lab.device),
            root,
            forgets,
            done,
            was_read,
        })
    }

    /// Bytes of the root partition, if it is there that `len` bytes at `offset` lie.
    fn in_root(&self, offset: u64, len: usize) -> Option<Range<u64>> {
        self.root
            .contains(&offset)
            .then(|| offset - self.root.start..offset - self.root.start + len as u64)
    }

    fn did(&self, did: Did) {
        self.done.lock().expect("lock").push(did);
    }

    /// Waits until something was read back.
    fn wait(&self) {
        let done = self.done.lock().expect("lock");
        let nothing_read =
            |done: &mut Vec<Did>| !done.iter().any(|did| matches!(did, Did::Read(_)));
        let (_done, waited) = self
            .was_read
            .wait_timeout_while(done, Duration::from_secs(120), nothing_read)
            .expect("lock");
        assert!(
            !waited.timed_out(),
            "nothing is read back before all is written"
        );
    }
}

impl BlockDevice for Told {
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
        if !self.forgets.is_some_and(|at| bytes.contains(&at)) {
            self.disk.write_at(offset, data)?;
        }
        self.did(Did::Written(bytes));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.did(Did::FlushBegan);
        self.disk.flush()?;
        self.did(Did::FlushEnded);
        Ok(())
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(bytes) = self.in_root(offset, into.len()) {
            self.did(Did::Read(bytes));
            self.was_read.notify_all();
        }
        self.disk.read_at(offset, into)
    }
}

/// An update to a release with a long root image, on a disk that forgets what is written to a byte
/// of it.
async fn updated(forgets: Option<u64>) -> (Lab, Arc<Told>, Result<Outcome, Failure>) {
    let lab = installed_on(Lab::with_root(512, ROOT + 10)).await;
    let told = Told::over(&lab, forgets);
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
    let outcome = lab
        .update_on(device, source, Choice::Slot(Slot::A), &options(&trust()))
        .await;
    (lab, told, outcome)
}

/// Where the last write to any of `bytes` is in `done`.
fn last_write(done: &[Did], bytes: &Range<u64>) -> Option<usize> {
    let touches = |written: &Range<u64>| written.start < bytes.end && bytes.start < written.end;
    done.iter()
        .rposition(|did| matches!(did, Did::Written(written) if touches(written)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_back_was_flushed_since_its_last_write_and_all_of_it_is_read() {
    let (lab, told, outcome) = updated(None).await;
    assert!(matches!(outcome, Ok(Outcome::Activated(_))), "{outcome:?}");
    assert_eq!(
        lab.record().slot(Slot::B).status,
        Status::Pending { tries_left: 3 }
    );
    let done = told.done.lock().expect("lock");
    let mut read = 0;
    for (at, did) in done.iter().enumerate() {
        let Did::Read(bytes) = did else { continue };
        read += bytes.end - bytes.start;
        // Zeroes lie in a new slot already.
        let written = last_write(&done, bytes).unwrap_or(0);
        assert!(written < at, "{bytes:?} is written after it was read");
        // Some flush lies wholly between them.
        let between = &done[written..at];
        let began = between.iter().position(|did| *did == Did::FlushBegan);
        let ended = began.is_some_and(|began| between[began..].contains(&Did::FlushEnded));
        assert!(
            ended,
            "{bytes:?} is read, and was not flushed since it was written"
        );
    }
    assert_eq!(read, ROOT * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_did_not_take_is_found_while_more_is_written() {
    let (lab, told, outcome) = updated(Some(5_000_000)).await;
    let failure = outcome.expect_err("a write was forgotten");
    let text = failure.to_string();
    assert!(
        text.starts_with("root-b: offset ")
            && text.ends_with("read back other bytes than were written"),
        "{text}"
    );
    assert_eq!(failure.disarmed, Some(Slot::B));
    let record = lab.record();
    assert!(!record.slot(Slot::B).is_bootable() && record.slot(Slot::A).is_good());
    let read = told
        .done
        .lock()
        .expect("lock")
        .iter()
        .filter(|did| matches!(did, Did::Read(_)))
        .count() as u64;
    assert!(read * MIB < ROOT * MIB, "it went on after {read} reads");
}
