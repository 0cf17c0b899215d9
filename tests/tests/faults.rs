//! Disks that fail under an update, on the real engine: each fault is told in words with partition
//! and place, costs neither the running slot nor the boot record, and the same command goes on once
//! the disk is mended. What can be shown with the program itself and a file is in
//! `updater/tests/command_line/faults.rs`; every write, flush, read and request of whole lives of a
//! machine fails in `rayos-prove crash`.

mod lab;

use bootctl::device::{BlockDevice, MemDevice};
use lab::{FIRST, Lab, SECOND, installed, options, trust};
use record::{Choice, Reason, Slot, Status};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use updater::source::MemorySource;
use updater::{ApplyError, Failure, Outcome};

const A: Choice = Choice::Slot(Slot::A);

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Writes give this error, from so many on: full, broken, or write-protected.
    Write { after: usize, kind: io::ErrorKind },
    /// Reads that touch this byte of the disk give an error.
    Unreadable(u64),
    /// A write to this byte of the disk is taken and not done.
    Forgets(u64),
    /// Nothing is answered any more, from so many writes on.
    Gone { after: usize },
    /// Flushes give an error.
    Flush,
}

/// A disk in memory with a fault.
struct Faulty {
    disk: Arc<MemDevice>,
    fault: Fault,
    writes: AtomicUsize,
}

impl Faulty {
    fn over(lab: &Lab, fault: Fault) -> Arc<dyn BlockDevice> {
        Arc::new(Self {
            disk: Arc::clone(&lab.device),
            fault,
            writes: AtomicUsize::new(0),
        })
    }

    fn is_gone(&self) -> bool {
        matches!(self.fault, Fault::Gone { after } if self.writes.load(Ordering::Relaxed) > after)
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk gave an error")
}

impl BlockDevice for Faulty {
    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let touched = |at: u64| (offset..offset + into.len() as u64).contains(&at);
        match self.fault {
            Fault::Unreadable(at) if touched(at) => Err(broken()),
            Fault::Gone { .. } if self.is_gone() => Err(broken()),
            _ => self.disk.read_at(offset, into),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let touched = |at: u64| (offset..offset + data.len() as u64).contains(&at);
        match self.fault {
            Fault::Write { after, kind } if number >= after => Err(kind.into()),
            Fault::Gone { .. } if self.is_gone() => Err(broken()),
            Fault::Forgets(at) if touched(at) => Ok(()),
            _ => self.disk.write_at(offset, data),
        }
    }

    fn flush(&self) -> io::Result<()> {
        if matches!(self.fault, Fault::Flush) || self.is_gone() {
            Err(broken())
        } else {
            self.disk.flush()
        }
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}

/// An update that `fault` ends. The running slot is as it was, and the same command goes on without
/// the fault.
async fn stopped_by(lab: &Lab, fault: Fault) -> Failure {
    let booted = lab.bytes(Slot::A);
    let source = MemorySource::new(SECOND.bundle(), 10_000);
    let failure = lab
        .update_on(Faulty::over(lab, fault), source, A, &options(&trust()))
        .await;
    let failure = failure.expect_err("the disk is faulty");
    assert!(lab.bytes(Slot::A) == booted, "{fault:?}: the running slot");
    let record = lab.record();
    assert_eq!(
        (record.default, record.slot(Slot::A).is_good()),
        (Slot::A, true),
        "{fault:?}"
    );
    assert!(
        !record.slot(Slot::B).is_bootable(),
        "{fault:?}: a slot that is not whole"
    );
    goes_on(lab).await;
    failure
}

async fn goes_on(lab: &Lab) {
    let again = lab.update(SECOND.bundle(), Slot::A).await;
    assert!(matches!(again, Ok(Outcome::Activated(_))), "{again:?}");
    assert_eq!(
        lab.record().slot(Slot::B).status,
        Status::Pending { tries_left: 3 }
    );
}

/// Where byte `at` of the root partition of slot B lies on the disk.
fn in_root_b(lab: &Lab, at: u64) -> u64 {
    lab.disk().root(Slot::B).expect("root").start() + at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_broken_half_way_is_told_with_the_partition() {
    for sector_size in [512, 4096] {
        for (kind, words) in [
            (io::ErrorKind::StorageFull, "no storage space"),
            (io::ErrorKind::QuotaExceeded, "quota exceeded"),
            (io::ErrorKind::Other, "other error"),
        ] {
            let lab = installed(sector_size).await;
            let failure = stopped_by(&lab, Fault::Write { after: 8, kind }).await;
            assert_eq!(failure.disarmed, Some(Slot::B), "{failure}");
            assert!(
                matches!(failure.error, ApplyError::Write { .. }),
                "{failure:?}"
            );
            let text = failure.to_string();
            assert!(
                ["boot-b: ", "root-b: "]
                    .iter()
                    .any(|part| text.starts_with(part)),
                "{text}"
            );
            assert!(text.contains(words), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_write_leaves_the_slot_as_it_was() {
    // Slot B holds a release that one could go back to.
    let lab = installed(512).await;
    lab.update(SECOND.bundle(), Slot::A).await.expect("updated");
    lab.commit(Slot::B);
    let before = lab.device.bytes();
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    let device = Faulty::over(&lab, Fault::Write { after: 0, kind });
    let source = MemorySource::new(
        lab::Sample {
            version: "1.2.0",
            index: 3,
            seed: 4,
        }
        .bundle(),
        10_000,
    );
    let failure = lab
        .update_on(device, source, Choice::Slot(Slot::B), &options(&trust()))
        .await;
    let failure = failure.expect_err("write-protected");
    assert_eq!(
        failure.to_string(),
        "boot record: read-only filesystem or storage medium"
    );
    assert_eq!(failure.disarmed, None, "slot A can be started as before");
    assert!(lab.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_goes_away_half_way_leaves_the_running_slot() {
    let lab = installed(512).await;
    for after in [0, 1, 3, 6, 9] {
        let failure = stopped_by(&lab, Fault::Gone { after }).await;
        assert!(
            failure.to_string().ends_with("the disk gave an error"),
            "{failure}"
        );
        // Back to where slot B is free.
        lab.commit(Slot::B);
        let fresh = installed(512).await;
        lab.device
            .write_at(0, &fresh.device.bytes())
            .expect("memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_is_believed() {
    let lab = installed(512).await;
    let failure = stopped_by(&lab, Fault::Flush).await;
    assert_eq!(failure.to_string(), "boot record: the disk gave an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_is_found_before_the_slot_can_be_started() {
    let lab = installed(512).await;
    let failure = stopped_by(&lab, Fault::Forgets(in_root_b(&lab, 2_500_000))).await;
    assert_eq!(failure.disarmed, Some(Slot::B));
    let text = failure.to_string();
    assert!(
        text.starts_with("root-b: offset ")
            && text.ends_with("read back other bytes than were written"),
        "{text}"
    );
    let offset = text
        .split(' ')
        .nth(2)
        .and_then(|word| word.trim_end_matches(':').parse::<u64>().ok());
    // The whole write was forgotten; where it began is told.
    assert!(
        offset.is_some_and(|offset| (offset..offset + (1 << 20)).contains(&2_500_000)),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_back_is_told_with_its_place() {
    let lab = installed(512).await;
    let failure = stopped_by(&lab, Fault::Unreadable(in_root_b(&lab, 2_500_000))).await;
    assert_eq!(failure.disarmed, Some(Slot::B));
    let text = failure.to_string();
    assert!(
        text.starts_with("root-b: offset ") && text.ends_with("the disk gave an error"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_stops_it_before_anything_is_changed() {
    let lab = installed(512).await;
    let before = lab.device.bytes();
    let state = lab.disk().state().expect("state").start();
    // One copy is enough.
    let source = || MemorySource::new(FIRST.bundle(), 10_000);
    let one = Faulty::over(&lab, Fault::Unreadable(state));
    let outcome = lab.update_on(one, source(), A, &options(&trust())).await;
    assert!(matches!(outcome, Ok(Outcome::UpToDate(_))), "{outcome:?}");
    // The medium lost the other one.
    let other = lab.disk().state().expect("state");
    other
        .write_at(1020 * 1024 + 100, &[0xff; 8])
        .expect("memory");
    let damaged = lab.device.bytes();
    let none = Faulty::over(&lab, Fault::Unreadable(state));
    let failure = lab
        .update_on(none, source(), A, &options(&trust()))
        .await
        .expect_err("no record");
    assert_eq!(failure.disarmed, None);
    let text = failure.to_string();
    assert!(
        text.starts_with("boot record is lost: copy 0: cannot be read; copy 1: "),
        "{text}"
    );
    assert!(lab.device.bytes() == damaged && damaged != before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_places_of_the_other_slot_are_fetched_instead() {
    let lab = installed(512).await;
    let root_a = lab.disk().root(Slot::A).expect("root").start();
    // The same release again from recovery: all of it lies in slot A, but for what cannot be read
    // there.
    let source = MemorySource::new(FIRST.bundle(), 10_000);
    let device = Faulty::over(&lab, Fault::Unreadable(root_a + 2_000_000));
    let outcome = lab
        .update_on(device, source, Choice::Recovery, &options(&trust()))
        .await;
    let Ok(Outcome::Activated(report)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(report.slot, 'b');
    assert!(
        report.composed_bytes > 2_000_000 && report.fetched_bytes > 100_000,
        "{report:?}"
    );
    assert_eq!(lab.record().slot(Slot::B).reason, Reason::None);
    assert!(lab.bytes(Slot::B) == lab.bytes(Slot::A));
}
