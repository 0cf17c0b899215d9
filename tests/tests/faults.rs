//! Disks that fail during an update by the real updater. Each error names partition and offset; the
//! running slot and the boot record do not change; the same command completes the update when the
//! disk works again. Faults that the program shows with a file are in
//! `updater/tests/command_line/faults.rs`; `rayos-prove crash` makes every write, flush, read and
//! request of a scenario fail.

use bootctl::device::{BlockDevice, MemDevice};
use record::{Choice, Reason, Slot, Status};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, chain, installed, options};
use updater::source::MemorySource;
use updater::{ApplyError, ApplyFailure, Outcome};

const A: Choice = Choice::Slot(Slot::A);

/// A fault of a disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Writes return this error after so many writes.
    Write { after: usize, kind: io::ErrorKind },
    /// Reads of this byte of the disk return an error.
    Unreadable(u64),
    /// A write to this byte of the disk returns success and has no effect.
    LostWrite(u64),
    /// All operations return an error after so many writes.
    Gone { after: usize },
    /// Flushes return an error.
    Flush,
}

/// A disk in memory with a fault.
struct Faulty {
    disk: Arc<MemDevice>,
    fault: Fault,
    writes: AtomicUsize,
}

impl Faulty {
    fn over(machine: &MemoryMachine, fault: Fault) -> Arc<dyn BlockDevice> {
        Arc::new(Self {
            disk: Arc::clone(&machine.device),
            fault,
            writes: AtomicUsize::new(0),
        })
    }

    fn is_gone(&self) -> bool {
        matches!(self.fault, Fault::Gone { after } if self.writes.load(Ordering::Relaxed) > after)
    }
}

fn disk_error() -> io::Error {
    io::Error::other("the disk returned an error")
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
            Fault::Unreadable(at) if touched(at) => Err(disk_error()),
            Fault::Gone { .. } if self.is_gone() => Err(disk_error()),
            _ => self.disk.read_at(offset, into),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let touched = |at: u64| (offset..offset + data.len() as u64).contains(&at);
        match self.fault {
            Fault::Write { after, kind } if number >= after => Err(kind.into()),
            Fault::Gone { .. } if self.is_gone() => Err(disk_error()),
            Fault::LostWrite(at) if touched(at) => Ok(()),
            _ => self.disk.write_at(offset, data),
        }
    }

    fn flush(&self) -> io::Result<()> {
        if matches!(self.fault, Fault::Flush) || self.is_gone() {
            Err(disk_error())
        } else {
            self.disk.flush()
        }
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}

/// Returns the failure of an update on a disk with `fault`. Checks that the running slot is unchanged
/// and that the same command completes the update without the fault.
async fn stopped_by(machine: &MemoryMachine, fault: Fault) -> ApplyFailure {
    let booted = machine.bytes(Slot::A);
    let source = MemorySource::new(SECOND.bundle(), 10_000);
    let failure = machine
        .update_on(Faulty::over(machine, fault), source, A, &options(&chain()))
        .await;
    let failure = failure.expect_err("the disk is faulty");
    assert!(
        machine.bytes(Slot::A) == booted,
        "{fault:?}: the running slot"
    );
    let record = machine.record();
    assert_eq!(
        (record.default, record.slot(Slot::A).is_good()),
        (Slot::A, true),
        "{fault:?}"
    );
    assert!(
        !record.slot(Slot::B).is_bootable(),
        "{fault:?}: an incomplete slot is bootable"
    );
    completes(machine).await;
    failure
}

async fn completes(machine: &MemoryMachine) {
    let again = machine.update(SECOND.bundle(), Slot::A).await;
    assert!(matches!(again, Ok(Outcome::Activated(_))), "{again:?}");
    assert_eq!(
        machine.record().slot(Slot::B).status,
        Status::Pending { tries_left: 3 }
    );
}

/// Returns the offset on the disk of byte `at` of the root partition of slot B.
fn in_root_b(machine: &MemoryMachine, at: u64) -> u64 {
    machine.disk().root(Slot::B).expect("root").start() + at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_failing_disk_is_reported_with_the_partition() {
    for sector_size in [512, 4096] {
        for (kind, words) in [
            (io::ErrorKind::StorageFull, "no storage space"),
            (io::ErrorKind::QuotaExceeded, "quota exceeded"),
            (io::ErrorKind::Other, "other error"),
        ] {
            let machine = installed(sector_size).await;
            let failure = stopped_by(&machine, Fault::Write { after: 8, kind }).await;
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
async fn a_read_only_disk_leaves_the_slot_unchanged() {
    // Slot A has a release that a rollback could boot.
    let machine = installed(512).await;
    machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    machine.commit(Slot::B);
    let before = machine.device.bytes();
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    let device = Faulty::over(&machine, Fault::Write { after: 0, kind });
    let source = MemorySource::new(
        tests::memory_machine::Sample {
            version: "1.2.0",
            index: 3,
            seed: 4,
        }
        .bundle(),
        10_000,
    );
    let failure = machine
        .update_on(device, source, Choice::Slot(Slot::B), &options(&chain()))
        .await;
    let failure = failure.expect_err("write-protected");
    assert_eq!(
        failure.to_string(),
        "boot record: read-only filesystem or storage medium"
    );
    assert_eq!(failure.disarmed, None, "slot A can be started as before");
    assert!(machine.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_disappears_leaves_the_running_slot() {
    let machine = installed(512).await;
    for after in [0, 1, 3, 6, 9] {
        let failure = stopped_by(&machine, Fault::Gone { after }).await;
        assert!(
            failure.to_string().ends_with("the disk returned an error"),
            "{failure}"
        );
        // Restore the state in which slot B is free.
        machine.commit(Slot::B);
        let fresh = installed(512).await;
        machine
            .device
            .write_at(0, &fresh.device.bytes())
            .expect("memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_flush_is_an_error() {
    let machine = installed(512).await;
    let failure = stopped_by(&machine, Fault::Flush).await;
    assert_eq!(
        failure.to_string(),
        "boot record: the disk returned an error"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_write_is_found_before_the_slot_can_be_started() {
    let machine = installed(512).await;
    let failure = stopped_by(&machine, Fault::LostWrite(in_root_b(&machine, 2_500_000))).await;
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
    // The error has the offset of the lost write.
    assert!(
        offset.is_some_and(|offset| (offset..offset + (1 << 20)).contains(&2_500_000)),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_byte_is_reported_with_its_offset() {
    let machine = installed(512).await;
    let failure = stopped_by(&machine, Fault::Unreadable(in_root_b(&machine, 2_500_000))).await;
    assert_eq!(failure.disarmed, Some(Slot::B));
    let text = failure.to_string();
    assert!(
        text.starts_with("root-b: offset ") && text.ends_with("the disk returned an error"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_stops_the_update_before_the_first_write() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let state = machine.disk().state().expect("state").start();
    // One copy is enough.
    let source = || MemorySource::new(FIRST.bundle(), 10_000);
    let one = Faulty::over(&machine, Fault::Unreadable(state));
    let outcome = machine
        .update_on(one, source(), A, &options(&chain()))
        .await;
    assert!(matches!(outcome, Ok(Outcome::UpToDate(_))), "{outcome:?}");
    // The other copy is damaged.
    let other = machine.disk().state().expect("state");
    other
        .write_at(1020 * 1024 + 100, &[0xff; 8])
        .expect("memory");
    let damaged = machine.device.bytes();
    let none = Faulty::over(&machine, Fault::Unreadable(state));
    let failure = machine
        .update_on(none, source(), A, &options(&chain()))
        .await
        .expect_err("no record");
    assert_eq!(failure.disarmed, None);
    let text = failure.to_string();
    assert!(
        text.starts_with("boot record is lost: copy 0: cannot be read; copy 1: "),
        "{text}"
    );
    assert!(machine.device.bytes() == damaged && damaged != before);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_ranges_of_the_other_slot_are_fetched() {
    let machine = installed(512).await;
    let root_a = machine.disk().root(Slot::A).expect("root").start();
    // The same release again from recovery: slot A has all of it, except for the unreadable byte.
    let source = MemorySource::new(FIRST.bundle(), 10_000);
    let device = Faulty::over(&machine, Fault::Unreadable(root_a + 2_000_000));
    let outcome = machine
        .update_on(device, source, Choice::Recovery, &options(&chain()))
        .await;
    let Ok(Outcome::Activated(report)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(report.slot, 'b');
    assert!(
        report.composed_bytes > 2_000_000 && report.fetched_bytes > 100_000,
        "{report:?}"
    );
    assert_eq!(machine.record().slot(Slot::B).reason, Reason::None);
    assert!(machine.bytes(Slot::B) == machine.bytes(Slot::A));
}
