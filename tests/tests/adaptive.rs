//! Chunks that the disk has are not fetched, every reused block is verified, and chunks that are in
//! place are not written again.

use bootctl::device::{BlockDevice, MemDevice};
use record::{Choice, Slot};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tests::memory_machine::{
    FIRST, MemoryMachine, SECOND, chain, guard, image, installed, options,
};
use updater::Amounts;
use updater::source::MemorySource;
use updater::{Outcome, Report};

const BLOCK: usize = 4096;
/// The booted slot; the other one is written.
const A: Choice = Choice::Slot(Slot::A);

/// Returns the root of the second release: the first one's blocks in another order, every `new`th
/// replaced, and an end that is not a whole block.
fn moved(new: usize) -> Vec<u8> {
    let old = image(11, 3_000_000);
    let fresh = image(77, 3_000_000);
    let blocks = old.len() / BLOCK;
    let mut root = Vec::new();
    // Pieces of 80 KiB in reverse order: no chunk of 16, 32 or 64 KiB is in its place.
    for first in (0..blocks).step_by(20).rev() {
        for block in first..blocks.min(first + 20) {
            let from = if block % new == 0 { &fresh } else { &old };
            root.extend_from_slice(&from[block * BLOCK..][..BLOCK]);
        }
    }
    root.extend_from_slice(b"odd end");
    root
}

/// Returns the second release with this root.
fn second(root: &[u8]) -> Vec<u8> {
    let images = [
        ("boot", image(20, 700_000)),
        ("root", root.to_vec()),
        ("recovery", image(12, 500_000)),
        ("guard", guard(13, 100_000)),
    ];
    SECOND.bundle_of(&images, "test-machine", 1)
}

fn report(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Activated(report) => report,
        other => panic!("not activated: {other:?}"),
    }
}

fn slot_b_holds(machine: &MemoryMachine, root: &[u8]) {
    let [boot, held] = machine.bytes(Slot::B);
    assert!(boot[BLOCK..][..700_000] == image(20, 700_000), "boot image");
    assert!(held[..root.len()] == *root, "root image");
}

/// Returns the amounts of a plan and checks that planning writes nothing.
async fn planned(machine: &MemoryMachine, bundle: Vec<u8>) -> Amounts {
    let before = machine.device.bytes();
    let trust = chain();
    let options = updater::Options {
        plan_only: true,
        ..options(&trust)
    };
    let device = Arc::clone(&machine.device) as Arc<dyn BlockDevice>;
    let planned = machine
        .update_on(device, MemorySource::new(bundle, 10_000), A, &options)
        .await;
    assert!(machine.device.bytes() == before, "planning changes nothing");
    match planned {
        Ok(Outcome::Planned(_, amounts)) => amounts,
        other => panic!("not planned: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_the_booted_slot_are_not_fetched_whatever_their_place() {
    for sector_size in [512, 4096] {
        let machine = installed(sector_size).await;
        let root = moved(64);
        let bundle = second(&root);
        let amounts = planned(&machine, bundle.clone()).await;
        let report = report(
            machine
                .update(bundle.clone(), Slot::A)
                .await
                .expect("updated"),
        );
        slot_b_holds(&machine, &root);
        assert!(report.composed_bytes > 1_000_000, "{report:?}");
        assert_eq!(report.composed_bytes, amounts.composed_bytes);
        // Boot image and new blocks, not the root image.
        assert!(
            report.fetched_bytes < bundle.len() as u64 * 6 / 10,
            "{report:?}"
        );
        assert_eq!(
            amounts.fetch_bytes, report.fetched_bytes,
            "{amounts:?} {report:?}"
        );
        let parts = amounts.in_place_bytes
            + amounts.composed_bytes
            + amounts.filled_bytes
            + amounts.decoded_bytes;
        assert_eq!(parts, amounts.image_bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_adaptive_everything_is_fetched() {
    let machine = installed(512).await;
    let root = moved(64);
    let trust = chain();
    let options = updater::Options {
        adaptive: false,
        ..options(&trust)
    };
    let device = Arc::clone(&machine.device) as Arc<dyn BlockDevice>;
    let done = machine
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options,
        )
        .await;
    let report = report(done.expect("updated"));
    slot_b_holds(&machine, &root);
    assert_eq!(report.composed_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_applied_without_hints() {
    let machine = installed(512).await;
    let root = moved(64);
    let mut pipe = MemorySource::new(second(&root), 10_000);
    pipe.seekable = false;
    let report = report(machine.update_from(pipe, A).await.expect("updated"));
    slot_b_holds(&machine, &root);
    assert_eq!(report.composed_bytes, 0);
}

/// A disk with a range that changes after a number of bytes of it were read.
struct Changing {
    inner: Arc<MemDevice>,
    range: std::ops::Range<u64>,
    reads: AtomicU64,
    reads_until: u64,
    changed: AtomicBool,
}

impl Changing {
    /// Returns the disk of `machine`, whose `range` changes after `reads_until` bytes of it were
    /// read.
    fn of(machine: &MemoryMachine, range: std::ops::Range<u64>, reads_until: u64) -> Arc<Self> {
        let (inner, reads, changed) = (
            Arc::clone(&machine.device),
            AtomicU64::new(0),
            AtomicBool::new(false),
        );
        Arc::new(Self {
            inner,
            range,
            reads,
            reads_until,
            changed,
        })
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        if self.range.contains(&offset) {
            let reads = self.reads.fetch_add(into.len() as u64, Ordering::SeqCst);
            if reads >= self.reads_until {
                self.changed.store(true, Ordering::SeqCst);
                into.iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
    }
}

impl BlockDevice for Changing {
    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, into)?;
        self.read(offset, into);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_change_after_the_scan_are_fetched() {
    let machine = installed(512).await;
    let root = moved(64);
    let window = machine.disk().root(Slot::A).expect("root");
    // The scan reads the image once; later reads return other bytes.
    let image_len = 3_000_000_u64.next_multiple_of(BLOCK as u64);
    let changing = Changing::of(
        &machine,
        window.start()..window.start() + window.len(),
        image_len,
    );
    let trust = chain();
    let device = Arc::clone(&changing) as Arc<dyn BlockDevice>;
    let bundle = second(&root);
    let done = machine
        .update_on(
            device,
            MemorySource::new(bundle.clone(), 10_000),
            A,
            &options(&trust),
        )
        .await;
    let report = report(done.expect("updated"));
    assert!(
        changing.changed.load(Ordering::SeqCst),
        "the range has not changed"
    );
    slot_b_holds(&machine, &root);
    assert!(
        report.fetched_bytes > bundle.len() as u64 * 6 / 10,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scan_reads_only_the_images_of_the_booted_slot() {
    let machine = installed(512).await;
    let window = machine.disk().root(Slot::A).expect("root");
    let behind = window.start() + 3_000_000_u64.next_multiple_of(BLOCK as u64);
    let counted = Changing::of(&machine, behind..window.start() + window.len(), u64::MAX);
    let (trust, root) = (chain(), moved(64));
    let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
    let done = machine
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options(&trust),
        )
        .await;
    assert!(report(done.expect("updated")).composed_bytes > 1_000_000);
    slot_b_holds(&machine, &root);
    assert_eq!(counted.reads.load(Ordering::SeqCst), 0);

    // Without the length of the root image, the whole partition is scanned.
    let machine = installed(512).await;
    let boot = machine.disk().boot(Slot::A).expect("boot");
    let kept = 4096 + 700_000_u64.next_multiple_of(4096);
    boot.write_at(kept, &vec![0; (boot.len() - kept) as usize])
        .expect("written");
    let counted = Changing {
        inner: Arc::clone(&machine.device),
        ..Arc::into_inner(counted).expect("alone")
    };
    let counted = Arc::new(counted);
    let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
    let done = machine
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options(&trust),
        )
        .await;
    assert!(report(done.expect("updated")).composed_bytes > 1_000_000);
    slot_b_holds(&machine, &root);
    assert!(counted.reads.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_should_be_zero_is_read_only_until_it_differs() {
    let mut root = image(21, 3_000_000);
    let zeroes = 65_536..65_536 + 2_097_152;
    root[zeroes.clone()].fill(0);
    for (filling, most) in [(0x5a, 64 * 1024), (0, 2_097_152 + 64 * 1024)] {
        let machine = installed(512).await;
        let window = machine.disk().root(Slot::B).expect("root");
        window
            .write_at(0, &vec![filling; window.len() as usize])
            .expect("written");
        let range = window.start() + zeroes.start as u64..window.start() + zeroes.end as u64;
        let counted = Changing::of(&machine, range, u64::MAX);
        let trust = chain();
        let planning = updater::Options {
            plan_only: true,
            ..options(&trust)
        };
        let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
        let planned = machine
            .update_on(
                device,
                MemorySource::new(second(&root), 10_000),
                A,
                &planning,
            )
            .await;
        let Ok(Outcome::Planned(_, amounts)) = planned else {
            panic!("{planned:?}")
        };
        // All of a range with zeroes, and a small part of a range without.
        let read = counted.reads.load(Ordering::SeqCst);
        assert!(read > 0 && read <= most, "{filling}: {read}");
        assert_eq!(
            amounts.in_place_bytes > 2_000_000,
            filling == 0,
            "{amounts:?}"
        );
        // The old content is overwritten.
        machine
            .update(second(&root), Slot::A)
            .await
            .expect("updated");
        slot_b_holds(&machine, &root);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_with_damaged_hints_is_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let mut bundle = second(&moved(64));
    let last = bundle.len() - 1;
    bundle[last] ^= 1;
    let failure = machine.update(bundle, Slot::A).await.expect_err("refused");
    assert!(
        failure
            .to_string()
            .starts_with("block hints: digest mismatch"),
        "{failure}"
    );
    assert!(machine.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_in_place_are_neither_fetched_nor_written() {
    let machine = installed(512).await;
    machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    // The same release except for a few bytes of its root.
    let mut root = image(21, 3_000_000);
    root[1_500_000..1_500_010].fill(1);
    let images = [
        ("boot", image(20, 700_000)),
        ("root", root.clone()),
        ("recovery", image(22, 500_000)),
        ("guard", guard(23, 100_000)),
    ];
    let third = tests::memory_machine::Sample {
        version: "1.2.0",
        index: 3,
        seed: 0,
    }
    .bundle_of(&images, "test-machine", 1);
    let report = report(machine.update(third, Slot::A).await.expect("updated"));
    slot_b_holds(&machine, &root);
    assert!(report.written_bytes <= 64 * 1024, "{report:?}");
    assert_eq!(report.reused_bytes + report.written_bytes, 3_700_000);
}

/// Applies `bundle` to slot B, reusing only chunks in place. Returns the report and the number of
/// bytes read from its root partition.
async fn counted(machine: &MemoryMachine, bundle: &[u8]) -> (Report, u64) {
    let window = machine.disk().root(Slot::B).expect("root");
    let counting = Arc::new(Changing {
        inner: Arc::clone(&machine.device),
        range: window.start()..window.start() + window.len(),
        reads: AtomicU64::new(0),
        reads_until: u64::MAX,
        changed: AtomicBool::new(false),
    });
    let trust = chain();
    let options = updater::Options {
        adaptive: false,
        read_back: false,
        ..options(&trust)
    };
    let device = Arc::clone(&counting) as Arc<dyn BlockDevice>;
    let done = machine
        .update_on(
            device,
            MemorySource::new(bundle.to_vec(), 10_000),
            A,
            &options,
        )
        .await;
    (
        report(done.expect("updated")),
        counting.reads.load(Ordering::SeqCst),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_different_slot_is_hardly_read_and_an_interrupted_one_is_reused() {
    const MIB: usize = 1 << 20;
    let machine = MemoryMachine::with_root(512, 25);
    machine.install(FIRST.bundle()).await.expect("installed");
    machine.commit(Slot::A);
    let root = image(21, 24 * MIB);
    let bundle = second(&root);
    let mut noise = image(99, 24 * MIB);
    noise.iter_mut().for_each(|byte| *byte |= 1);
    let spoil = |from: usize, to: usize| {
        let window = machine.disk().root(Slot::B).expect("root");
        window
            .write_at(from as u64, &noise[from..to])
            .expect("write");
    };
    spoil(0, 24 * MIB);
    // The hash tree: superblock, 48 blocks of level 0, and the top.
    let tree = 50 * 4096;
    // The first 8 MiB, 2 of them zero; 4 more MiB of zeroes; one chunk in each of the next 4 MiB.
    let (report, read) = counted(&machine, &bundle).await;
    slot_b_holds(&machine, &root);
    assert!(read < 12 * MIB as u64 + 4 * 65_536 + tree, "{read}");
    // The zeroes of the boot image are in place.
    assert_eq!(report.reused_bytes, 131_072, "{report:?}");
    // Interrupted near the beginning, in the middle, and with only the end left: the chunks in place
    // are found.
    for (from, to) in [(MIB, 24 * MIB), (13 * MIB, 24 * MIB), (0, 15 * MIB)] {
        spoil(from, to);
        let (report, _) = counted(&machine, &bundle).await;
        slot_b_holds(&machine, &root);
        let right = (24 * MIB - (to - from)) as u64;
        assert!(
            report.reused_bytes + 131_072 >= right,
            "{from} to {to}: {report:?}"
        );
    }
}
