//! What the disk has is not fetched, what it seems to have is not believed, and what is right is
//! not written again.

mod lab;

use bootctl::device::{BlockDevice, MemDevice};
use lab::{FIRST, Lab, SECOND, image, installed, options, trust};
use record::{Choice, Slot};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use updater::Amounts;
use updater::source::MemorySource;
use updater::{Outcome, Report};

const BLOCK: usize = 4096;
/// The booted slot; the other one is written.
const A: Choice = Choice::Slot(Slot::A);

/// The second release's root: that of the first with its blocks in another order, every `new`th
/// replaced, and an odd end.
fn moved(new: usize) -> Vec<u8> {
    let old = image(11, 3_000_000);
    let fresh = image(77, 3_000_000);
    let blocks = old.len() / BLOCK;
    let mut root = Vec::new();
    // Pieces of 80 KiB, back to front: no chunk of 16, 32 or 64 KiB is where it was.
    for first in (0..blocks).step_by(20).rev() {
        for block in first..blocks.min(first + 20) {
            let from = if block % new == 0 { &fresh } else { &old };
            root.extend_from_slice(&from[block * BLOCK..][..BLOCK]);
        }
    }
    root.extend_from_slice(b"odd end");
    root
}

/// The second release with this root.
fn second(root: &[u8]) -> Vec<u8> {
    let images = [
        ("boot", image(20, 700_000)),
        ("root", root.to_vec()),
        ("recovery", image(12, 500_000)),
        ("guard", image(13, 100_000)),
    ];
    SECOND.bundle_of(&images, "test-machine", 1)
}

fn report(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Activated(report) => report,
        other => panic!("not activated: {other:?}"),
    }
}

fn slot_b_holds(lab: &Lab, root: &[u8]) {
    let [boot, held] = lab.bytes(Slot::B);
    assert!(boot[BLOCK..][..700_000] == image(20, 700_000), "boot image");
    assert!(held[..root.len()] == *root, "root image");
}

/// What a plan says, and that making it changed nothing.
async fn planned(lab: &Lab, bundle: Vec<u8>) -> Amounts {
    let before = lab.device.bytes();
    let trust = trust();
    let options = updater::Options {
        plan_only: true,
        ..options(&trust)
    };
    let device = Arc::clone(&lab.device) as Arc<dyn BlockDevice>;
    let planned = lab
        .update_on(device, MemorySource::new(bundle, 10_000), A, &options)
        .await;
    assert!(lab.device.bytes() == before, "planning changes nothing");
    match planned {
        Ok(Outcome::Planned(_, amounts)) => amounts,
        other => panic!("not planned: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_the_booted_slot_are_not_fetched_wherever_they_lie() {
    for sector_size in [512, 4096] {
        let lab = installed(sector_size).await;
        let root = moved(64);
        let bundle = second(&root);
        let amounts = planned(&lab, bundle.clone()).await;
        let report = report(lab.update(bundle.clone(), Slot::A).await.expect("updated"));
        slot_b_holds(&lab, &root);
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
async fn asked_not_to_look_it_fetches_everything() {
    let lab = installed(512).await;
    let root = moved(64);
    let trust = trust();
    let options = updater::Options {
        adaptive: false,
        ..options(&trust)
    };
    let device = Arc::clone(&lab.device) as Arc<dyn BlockDevice>;
    let done = lab
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options,
        )
        .await;
    let report = report(done.expect("updated"));
    slot_b_holds(&lab, &root);
    assert_eq!(report.composed_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_cannot_tell_what_is_behind_it_but_is_applied() {
    let lab = installed(512).await;
    let root = moved(64);
    let mut pipe = MemorySource::new(second(&root), 10_000);
    pipe.seekable = false;
    let report = report(lab.update_from(pipe, A).await.expect("updated"));
    slot_b_holds(&lab, &root);
    assert_eq!(report.composed_bytes, 0);
}

/// A disk on which one range changes once it has been read as often as said.
struct Changing {
    inner: Arc<MemDevice>,
    range: std::ops::Range<u64>,
    reads: AtomicU64,
    reads_until: u64,
    changed: AtomicBool,
}

impl Changing {
    /// The disk of `lab`, of which `range` changes after `reads_until` bytes of it were read.
    fn of(lab: &Lab, range: std::ops::Range<u64>, reads_until: u64) -> Arc<Self> {
        let (inner, reads, changed) = (
            Arc::clone(&lab.device),
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
async fn what_the_booted_slot_seemed_to_have_is_fetched_after_all() {
    let lab = installed(512).await;
    let root = moved(64);
    let window = lab.disk().root(Slot::A).expect("root");
    // Its image is read once to look for blocks; whatever is read of it after that is something
    // else.
    let image_len = 3_000_000_u64.next_multiple_of(BLOCK as u64);
    let changing = Changing::of(
        &lab,
        window.start()..window.start() + window.len(),
        image_len,
    );
    let trust = trust();
    let device = Arc::clone(&changing) as Arc<dyn BlockDevice>;
    let bundle = second(&root);
    let done = lab
        .update_on(
            device,
            MemorySource::new(bundle.clone(), 10_000),
            A,
            &options(&trust),
        )
        .await;
    let report = report(done.expect("updated"));
    assert!(changing.changed.load(Ordering::SeqCst), "the disk has lied");
    slot_b_holds(&lab, &root);
    assert!(
        report.fetched_bytes > bundle.len() as u64 * 6 / 10,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_other_slot_no_more_is_read_than_its_images_take() {
    let lab = installed(512).await;
    let window = lab.disk().root(Slot::A).expect("root");
    let behind = window.start() + 3_000_000_u64.next_multiple_of(BLOCK as u64);
    let counted = Changing::of(&lab, behind..window.start() + window.len(), u64::MAX);
    let (trust, root) = (trust(), moved(64));
    let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
    let done = lab
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options(&trust),
        )
        .await;
    assert!(report(done.expect("updated")).composed_bytes > 1_000_000);
    slot_b_holds(&lab, &root);
    assert_eq!(counted.reads.load(Ordering::SeqCst), 0);

    // A slot that does not tell how long its root image is may have something anywhere.
    let lab = installed(512).await;
    let boot = lab.disk().boot(Slot::A).expect("boot");
    let kept = 4096 + 700_000_u64.next_multiple_of(4096);
    boot.write_at(kept, &vec![0; (boot.len() - kept) as usize])
        .expect("written");
    let counted = Changing {
        inner: Arc::clone(&lab.device),
        ..Arc::into_inner(counted).expect("alone")
    };
    let counted = Arc::new(counted);
    let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
    let done = lab
        .update_on(
            device,
            MemorySource::new(second(&root), 10_000),
            A,
            &options(&trust),
        )
        .await;
    assert!(report(done.expect("updated")).composed_bytes > 1_000_000);
    slot_b_holds(&lab, &root);
    assert!(counted.reads.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_should_be_zero_a_slot_with_something_else_is_hardly_read() {
    let mut root = image(21, 3_000_000);
    let zeroes = 65_536..65_536 + 2_097_152;
    root[zeroes.clone()].fill(0);
    for (filling, most) in [(0x5a, 64 * 1024), (0, 2_097_152 + 64 * 1024)] {
        let lab = installed(512).await;
        let window = lab.disk().root(Slot::B).expect("root");
        window
            .write_at(0, &vec![filling; window.len() as usize])
            .expect("written");
        let range = window.start() + zeroes.start as u64..window.start() + zeroes.end as u64;
        let counted = Changing::of(&lab, range, u64::MAX);
        let trust = trust();
        let planning = updater::Options {
            plan_only: true,
            ..options(&trust)
        };
        let device = Arc::clone(&counted) as Arc<dyn BlockDevice>;
        let planned = lab
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
        // All of what is there, and next to nothing of what is not.
        let read = counted.reads.load(Ordering::SeqCst);
        assert!(read > 0 && read <= most, "{filling}: {read}");
        assert_eq!(
            amounts.in_place_bytes > 2_000_000,
            filling == 0,
            "{amounts:?}"
        );
        // What was there does not show through.
        lab.update(second(&root), Slot::A).await.expect("updated");
        slot_b_holds(&lab, &root);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_damaged_hints_is_refused_without_a_trace() {
    let lab = installed(512).await;
    let before = lab.device.bytes();
    let mut bundle = second(&moved(64));
    let last = bundle.len() - 1;
    bundle[last] ^= 1;
    let failure = lab.update(bundle, Slot::A).await.expect_err("refused");
    assert!(
        failure
            .to_string()
            .starts_with("block hints: digest mismatch"),
        "{failure}"
    );
    assert!(lab.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_stay_where_they_are_are_neither_fetched_nor_written() {
    let lab = installed(512).await;
    lab.update(SECOND.bundle(), Slot::A).await.expect("updated");
    // The same release but for a few bytes of its root.
    let mut root = image(21, 3_000_000);
    root[1_500_000..1_500_010].fill(1);
    let images = [
        ("boot", image(20, 700_000)),
        ("root", root.clone()),
        ("recovery", image(22, 500_000)),
        ("guard", image(23, 100_000)),
    ];
    let third = lab::Sample {
        version: "1.2.0",
        index: 3,
        seed: 0,
    }
    .bundle_of(&images, "test-machine", 1);
    let report = report(lab.update(third, Slot::A).await.expect("updated"));
    slot_b_holds(&lab, &root);
    assert!(report.written_bytes <= 64 * 1024, "{report:?}");
    assert_eq!(report.reused_bytes + report.written_bytes, 3_700_000);
}

/// Applies `bundle` to slot B, fetching what is not in its place; and how many bytes of its root
/// partition were read for that.
async fn counted(lab: &Lab, bundle: &[u8]) -> (Report, u64) {
    let window = lab.disk().root(Slot::B).expect("root");
    let counting = Arc::new(Changing {
        inner: Arc::clone(&lab.device),
        range: window.start()..window.start() + window.len(),
        reads: AtomicU64::new(0),
        reads_until: u64::MAX,
        changed: AtomicBool::new(false),
    });
    let trust = trust();
    let options = updater::Options {
        adaptive: false,
        read_back: false,
        ..options(&trust)
    };
    let device = Arc::clone(&counting) as Arc<dyn BlockDevice>;
    let done = lab
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
async fn a_slot_with_something_quite_different_is_not_read_in_vain_and_one_that_was_cut_off_is() {
    const MIB: usize = 1 << 20;
    let lab = Lab::with_root(512, 24);
    lab.install(FIRST.bundle()).await.expect("installed");
    lab.commit(Slot::A);
    let root = image(21, 24 * MIB);
    let bundle = second(&root);
    let mut noise = image(99, 24 * MIB);
    noise.iter_mut().for_each(|byte| *byte |= 1);
    let spoil = |from: usize, to: usize| {
        let window = lab.disk().root(Slot::B).expect("root");
        window
            .write_at(from as u64, &noise[from..to])
            .expect("write");
    };
    spoil(0, 24 * MIB);
    // The first 8 MiB, of which 2 are zero; 4 more of zeroes; and one chunk in each of the 4 MiB
    // behind them.
    let (report, read) = counted(&lab, &bundle).await;
    slot_b_holds(&lab, &root);
    assert!(read < 12 * MIB as u64 + 4 * 65_536, "{read}");
    // The zeroes of the boot image are there.
    assert_eq!(report.reused_bytes, 131_072, "{report:?}");
    // Cut off near the beginning, in the middle, and with nothing but the end left: what is there
    // is found.
    for (from, to) in [(MIB, 24 * MIB), (13 * MIB, 24 * MIB), (0, 15 * MIB)] {
        spoil(from, to);
        let (report, _) = counted(&lab, &bundle).await;
        slot_b_holds(&lab, &root);
        let right = (24 * MIB - (to - from)) as u64;
        assert!(
            report.reused_bytes + 131_072 >= right,
            "{from} to {to}: {report:?}"
        );
    }
}
