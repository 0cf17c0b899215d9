//! Delta bundles: applied to the release that they build upon and to no other, whatever state its
//! slot is in.

mod lab;

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bundle::create::BundleOutput;
use bundle::delta::{self, DeltaOptions};
use bundle::open::{Access, Opener, SlotImages};
use lab::{FIRST, Lab, Sample, image, installed, key, options, trust};
use record::{Choice, Slot};
use seal::{Purpose, SEAL_LEN};
use std::fs::File;
use std::io::{self, Cursor, Seek as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use updater::Repaired;
use updater::events::Silent;
use updater::plan::UpToDate;
use updater::source::MemorySource;
use updater::source::Retries;
use updater::verify_slot::{Question, verify_slot};
use updater::{Failure, Incoming, Machine, Options, Outcome, Report};

const SECOND: Sample = Sample {
    version: "1.1.0",
    index: 2,
    seed: 0,
};
const THIRD: Sample = Sample {
    version: "1.2.0",
    index: 3,
    seed: 0,
};
const A: Choice = Choice::Slot(Slot::A);

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    file
}

fn extracted(bundle: &[u8]) -> SlotImages {
    let access = Access::Verify(&trust(), Purpose::Release);
    SlotImages::extract(&file(bundle), access, 2, tempfile::tempfile, &mut |_| ())
        .expect("extracted")
}

/// The delta that leads from one bundle to another.
fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut spool, mut out) = (Cursor::new(Vec::new()), Vec::new());
    let options = DeltaOptions {
        keys: &[key(1)],
        level: 9,
        workers: 2,
    };
    let output = BundleOutput {
        spool: &mut spool,
        out: &mut out,
    };
    delta::create(
        &extracted(old),
        &extracted(new),
        options,
        output,
        &mut |_| (),
    )
    .expect("delta");
    out
}

/// Up to 64 KiB that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    image(seed, 300_000)[..len].to_vec()
}

/// The root image of the first release with something put in, something overwritten, and something
/// moved.
fn root(seed: u64) -> Vec<u8> {
    let mut root = image(11, 3_000_000);
    let at = (seed * 97_001 % 2_000_000) as usize;
    root.splice(at..at, noise(seed + 100, 40_000));
    root[at / 2..][..5000].copy_from_slice(&noise(seed + 200, 5000));
    let piece: Vec<u8> = root.drain(1_000_001..1_200_000).collect();
    root.extend(piece);
    root
}

fn boot(seed: u64) -> Vec<u8> {
    [image(10, 700_000), noise(seed, 3000)].concat()
}

fn release(sample: &Sample, seed: u64) -> Vec<u8> {
    sample.bundle_of(
        &[("boot", boot(seed)), ("root", root(seed))],
        "test-machine",
        1,
    )
}

fn holds(lab: &Lab, slot: Slot, seed: u64) {
    let [in_boot, in_root] = lab.bytes(slot);
    assert!(in_boot[SEAL_LEN..].starts_with(&boot(seed)), "boot image");
    assert!(in_root.starts_with(&root(seed)), "root image");
}

fn report(outcome: Result<Outcome, Failure>) -> Report {
    match outcome {
        Ok(Outcome::Activated(report)) => report,
        other => panic!("not activated: {other:?}"),
    }
}

/// An update through `device`, with a whole bundle to turn to.
async fn update(
    device: Arc<dyn BlockDevice>,
    delta: &[u8],
    full: Option<&[u8]>,
) -> Result<Outcome, Failure> {
    let disk = Disk::open(device).expect("disk");
    let store = RecordStore::open(&disk).expect("store");
    let machine = Machine {
        disk,
        store,
        vars: None,
        booted: A,
        now: 0,
    };
    let (trust, on_retry) = (trust(), |_: &_, _| ());
    let source = |bytes: &[u8]| MemorySource::new(bytes.to_vec(), 10_000);
    let mut incoming = Incoming::open(source(delta), &trust, Retries::default(), &on_retry).await?;
    if let Some(full) = full {
        incoming = incoming.with_full(source(full), &on_retry);
    }
    incoming.apply(&machine, &options(&trust), &Silent).await
}

fn device(lab: &Lab) -> Arc<dyn BlockDevice> {
    Arc::clone(&lab.device) as Arc<dyn BlockDevice>
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_leads_to_exactly_the_new_release_and_the_next_one_builds_upon_it() {
    for sector_size in [512, 4096] {
        let lab = installed(sector_size).await;
        let (first, second, third) = (FIRST.bundle(), release(&SECOND, 1), release(&THIRD, 2));
        let bundle = delta(&first, &second);
        assert!(
            bundle.len() < second.len() / 10,
            "{} of {}",
            bundle.len(),
            second.len()
        );
        let done = report(lab.update(bundle.clone(), Slot::A).await);
        holds(&lab, Slot::B, 1);
        assert!(done.fetched_bytes <= bundle.len() as u64, "{done:?}");
        assert_eq!((done.version.as_str(), done.slot), ("1.1.0", 'b'));
        lab.commit(Slot::B);
        // Slot B keeps the index of a delta; that tells as well what it holds.
        report(lab.update(delta(&second, &third), Slot::B).await);
        holds(&lab, Slot::A, 2);
        lab.commit(Slot::A);
        // The same delta again has nothing to do.
        let again = lab.update(delta(&second, &third), Slot::A).await;
        assert!(matches!(again, Ok(Outcome::UpToDate(_))), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changed_between_two_releases() {
    let first = FIRST.bundle();
    for seed in 3..9 {
        let lab = installed(512).await;
        let mut pipe =
            MemorySource::new(delta(&first, &release(&SECOND, seed)), 3000 + seed as usize);
        pipe.seekable = seed % 2 == 0;
        report(lab.update_from(pipe, A).await);
        holds(&lab, Slot::B, seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_holds_something_else_is_refused_and_nothing_is_written() {
    let lab = installed(512).await;
    let before = lab.device.bytes();
    let old = Sample {
        version: "0.9.0",
        index: 1,
        seed: 3,
    }
    .bundle();
    let other_root = [("boot", image(10, 700_000)), ("root", image(77, 3_000_000))];
    let other_boot = [("boot", image(78, 700_000)), ("root", image(11, 3_000_000))];
    let rebuilt = |images: &[(&str, Vec<u8>)]| FIRST.bundle_of(images, "test-machine", 1);
    let second = release(&SECOND, 1);
    for (base, told) in [
        (
            old,
            "release 1.1.0 comes as a delta to 0.9.0: slot A holds 1.0.0",
        ),
        (
            rebuilt(&other_root),
            "release 1.1.0 comes as a delta to 1.0.0: the root image in slot A is another one",
        ),
        (
            rebuilt(&other_boot),
            "release 1.1.0 comes as a delta to 1.0.0: the boot image in slot A is another one",
        ),
    ] {
        let failure = lab
            .update(delta(&base, &second), Slot::A)
            .await
            .expect_err("refused");
        assert_eq!(failure.to_string(), told);
        assert_eq!(failure.disarmed, None);
        assert!(lab.device.bytes() == before, "{told}");
    }
    // An installation cannot start from a delta.
    let empty = Lab::new(512);
    let before = empty.device.bytes();
    let bundle = delta(&FIRST.bundle(), &second);
    let error = empty
        .install(bundle)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains(
            "release 1.1.0 comes as a delta to 1.0.0: an installation needs a whole bundle"
        ),
        "{error}"
    );
    assert!(empty.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_deltas_change_nothing_that_could_be_started() {
    let lab = installed(512).await;
    let slot_a = lab.bytes(Slot::A);
    let good = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let step = good.len() / 40;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
        let mut flipped = good.clone();
        flipped[at] ^= 4;
        for bad in [flipped, good[..at].to_vec()] {
            // What an earlier attempt left in its place would not be needed any more.
            for window in [lab.disk().boot(Slot::B), lab.disk().root(Slot::B)] {
                let window = window.expect("partition");
                window.write_zeroes_at(0, window.len()).expect("cleared");
            }
            let failed = lab.update(bad, Slot::A).await;
            assert!(failed.is_err(), "byte {at}");
            assert!(lab.bytes(Slot::A) == slot_a);
            assert_eq!(lab.record().default, Slot::A);
            assert!(!lab.record().slot(Slot::B).is_good());
        }
    }
    report(lab.update(good, Slot::A).await);
    holds(&lab, Slot::B, 1);
}

/// Where byte `at` of the root image in slot A lies on the disk.
fn in_root_a(lab: &Lab, at: u64) -> u64 {
    lab.disk().root(Slot::A).expect("root").start() + at
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_base_is_named_or_made_good_from_the_whole_bundle() {
    let lab = installed(512).await;
    let second = release(&SECOND, 1);
    let bundle = delta(&FIRST.bundle(), &second);
    lab.device
        .write_at(in_root_a(&lab, 2_600_000), b"not what was signed")
        .expect("damage");
    let failure = update(device(&lab), &bundle, None)
        .await
        .expect_err("damaged");
    let told = failure.to_string();
    // The chunk of the first release in which it lies: 32 KiB or less around byte 2,600,000.
    let numbers: Vec<u64> = told
        .split([' ', ':'])
        .filter_map(|word| word.parse().ok())
        .take(2)
        .collect();
    assert!(
        told.starts_with("root-a: bytes ") && told.contains("(--full)"),
        "{told}"
    );
    assert!(
        numbers[0] <= 2_600_000 && 2_600_000 <= numbers[1] && numbers[1] - numbers[0] < 65_536,
        "{told}"
    );
    assert_eq!(failure.disarmed, Some(Slot::B));
    assert!(!lab.record().slot(Slot::B).is_good() && lab.record().slot(Slot::A).is_good());
    // What could be made is in its place; the rest comes from the whole bundle, and not all of
    // that.
    let done = report(update(device(&lab), &bundle, Some(&second)).await);
    holds(&lab, Slot::B, 1);
    assert!(done.reused_bytes > 0, "{done:?}");
    assert!(done.fetched_bytes < second.len() as u64, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_bundle_of_another_release_is_no_help() {
    let lab = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    lab.device
        .write_at(in_root_a(&lab, 300_000), &[1; 100])
        .expect("damage");
    let failure = update(device(&lab), &bundle, Some(&release(&THIRD, 2)))
        .await
        .expect_err("other");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 comes with the whole bundle of release 1.2.0, which has other images"
    );
    let failure = update(device(&lab), &bundle, Some(&bundle))
        .await
        .expect_err("a delta itself");
    assert!(
        failure.to_string().contains("which has other images"),
        "{failure}"
    );
}

/// A disk that cannot read one of its sectors.
struct BadSector {
    inner: Arc<MemDevice>,
    bad: Range<u64>,
}

impl BlockDevice for BadSector {
    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if offset < self.bad.end && self.bad.start < offset + into.len() as u64 {
            return Err(io::Error::other("medium error"));
        }
        self.inner.read_at(offset, into)
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
async fn a_base_that_cannot_be_read_is_like_a_damaged_one() {
    let lab = installed(512).await;
    let second = release(&SECOND, 1);
    let bundle = delta(&FIRST.bundle(), &second);
    let at = in_root_a(&lab, 2_600_448);
    let broken = || {
        Arc::new(BadSector {
            inner: Arc::clone(&lab.device),
            bad: at..at + 512,
        })
    };
    let failure = update(broken(), &bundle, None)
        .await
        .expect_err("unreadable");
    assert!(
        failure.to_string().starts_with("root-a: bytes ")
            && failure.to_string().contains("medium error"),
        "{failure}"
    );
    report(update(broken(), &bundle, Some(&second)).await);
    holds(&lab, Slot::B, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_keeps_no_index_is_hashed() {
    let lab = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let boot_a = lab.disk().boot(Slot::A).expect("boot");
    let kept = (SEAL_LEN + 700_000).next_multiple_of(4096) as u64;
    boot_a.write_at(kept, &[0; 4096]).expect("forgotten");
    lab.device
        .write_at(in_root_a(&lab, 2_600_000), b"!")
        .expect("damage");
    let before = lab.device.bytes();
    let failure = lab
        .update(bundle.clone(), Slot::A)
        .await
        .expect_err("refused");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 comes as a delta to 1.0.0: the root image in slot A is another one"
    );
    assert!(lab.device.bytes() == before);
    let byte = &image(11, 3_000_000)[2_600_000..2_600_001];
    lab.device
        .write_at(in_root_a(&lab, 2_600_000), byte)
        .expect("mended");
    report(lab.update(bundle, Slot::A).await);
    holds(&lab, Slot::B, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_good_seal_is_no_base() {
    let lab = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    lab.disk()
        .boot(Slot::A)
        .expect("boot")
        .write_at(10, b"torn")
        .expect("damage");
    let before = lab.device.bytes();
    let failure = lab.update(bundle, Slot::A).await.expect_err("refused");
    assert!(
        failure.to_string().starts_with(
            "release 1.1.0 comes as a delta to 1.0.0: what slot A holds cannot be told: "
        ),
        "{failure}"
    );
    assert!(lab.device.bytes() == before);
}

#[test]
fn a_delta_is_as_signed_as_any_bundle() {
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let opened = Opener::open(
        Cursor::new(&bundle),
        Access::Verify(&trust(), Purpose::Release),
        1,
    );
    opened.expect("opened").check(&mut |_| ()).expect("checked");
}

/// Slot A runs a release that leads on from the one in slot B, which was made by a delta.
async fn fallback_made_by_delta(second: &[u8]) -> Lab {
    let lab = installed(512).await;
    report(lab.update(delta(&FIRST.bundle(), second), Slot::A).await);
    lab.commit(Slot::B);
    report(
        lab.update(delta(second, &release(&THIRD, 2)), Slot::B)
            .await,
    );
    lab.commit(Slot::A);
    lab
}

async fn repair(lab: &Lab, bundle: &[u8]) -> Result<Repaired, Failure> {
    let disk = lab.disk();
    let store = RecordStore::open(&disk).expect("store");
    let machine = Machine {
        disk,
        store,
        vars: None,
        booted: A,
        now: 0,
    };
    let (trust, on_retry) = (trust(), |_: &_, _| ());
    let source = MemorySource::new(bundle.to_vec(), 10_000);
    let incoming = Incoming::open(source, &trust, Retries::default(), &on_retry).await?;
    let options = Options {
        adaptive: false,
        ..options(&trust)
    };
    incoming.repair(Slot::B, &machine, &options, &Silent).await
}

/// Slot B compared by what it keeps itself, or with a bundle.
async fn is_whole(lab: &Lab, bundle: Option<&[u8]>) -> bool {
    let (disk, record, trust) = (lab.disk(), lab.record(), trust());
    let release = match bundle {
        Some(bundle) => {
            let source = MemorySource::new(bundle.to_vec(), 10_000);
            let incoming = Incoming::open(source, &trust, Retries::default(), &|_, _| ())
                .await
                .expect("head");
            Some(Arc::clone(incoming.release()))
        }
        None => None,
    };
    let state = record.slot(Slot::B);
    let question = Question {
        disk: &disk,
        state,
        slot: Slot::B,
        trust: &trust,
        release,
        jobs: 2,
    };
    verify_slot(&question, &Silent)
        .await
        .expect("compared")
        .is_whole()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_runs_is_known_whichever_bundle_it_came_by() {
    let (first, second) = (FIRST.bundle(), release(&SECOND, 1));
    let bundles = [second.clone(), delta(&first, &second)];
    for (installed_by, offered) in [(0, 1), (1, 0)] {
        let lab = installed(512).await;
        report(lab.update(bundles[installed_by].clone(), Slot::A).await);
        lab.commit(Slot::B);
        let before = lab.device.bytes();
        let again = lab.update(bundles[offered].clone(), Slot::B).await;
        assert!(
            matches!(again, Ok(Outcome::UpToDate(UpToDate { slot: Slot::B }))),
            "{again:?}"
        );
        // The same version with other images is another release.
        let rebuilt = release(&SECOND, 5);
        let failure = lab
            .update(delta(&first, &rebuilt), Slot::B)
            .await
            .expect_err("refused");
        assert_eq!(
            failure.to_string(),
            "release 1.1.0 comes as a delta to 1.0.0: slot B holds 1.1.0"
        );
        assert!(lab.device.bytes() == before);
        report(lab.update(rebuilt, Slot::B).await);
        holds(&lab, Slot::A, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_keeps_no_index_is_known_by_its_root_image() {
    let (first, second) = (FIRST.bundle(), release(&SECOND, 1));
    let lab = installed(512).await;
    report(lab.update(second.clone(), Slot::A).await);
    lab.commit(Slot::B);
    forget_index(&lab);
    let again = lab.update(delta(&first, &second), Slot::B).await;
    assert!(matches!(again, Ok(Outcome::UpToDate(_))), "{again:?}");
    lab.disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    let failure = lab
        .update(delta(&first, &second), Slot::B)
        .await
        .expect_err("not known");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 comes as a delta to 1.0.0: slot B holds 1.1.0"
    );
}

/// Makes slot B forget what it keeps of its bundle.
fn forget_index(lab: &Lab) {
    let kept = (SEAL_LEN + boot(1).len()).next_multiple_of(4096) as u64;
    lab.disk()
        .boot(Slot::B)
        .expect("boot")
        .write_at(kept, &[0; 4096])
        .expect("forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_made_by_a_delta_is_compared_with_and_repaired_by_the_whole_bundle() {
    let second = release(&SECOND, 1);
    let lab = fallback_made_by_delta(&second).await;
    assert!(is_whole(&lab, None).await && is_whole(&lab, Some(&second)).await);
    lab.disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    assert!(!is_whole(&lab, None).await && !is_whole(&lab, Some(&second)).await);
    let repaired = repair(&lab, &second).await;
    let Ok(Repaired::Mended(report)) = repaired else {
        panic!("not mended: {repaired:?}")
    };
    assert!(report.written_bytes <= 64 << 10, "{report:?}");
    holds(&lab, Slot::B, 1);
    assert!(lab.record().slot(Slot::B).is_good() && lab.record().default == Slot::A);
    assert!(
        is_whole(&lab, None).await,
        "it has the seal and the index of the whole bundle now"
    );
    let again = repair(&lab, &second).await;
    assert!(matches!(again, Ok(Repaired::Whole(Slot::B))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_told_that_the_images_are_the_same_nothing_is_repaired() {
    let second = release(&SECOND, 1);
    let lab = fallback_made_by_delta(&second).await;
    let before = lab.device.bytes();
    let failure = repair(&lab, &release(&SECOND, 7))
        .await
        .expect_err("other images");
    let words = "slot B holds release 1.1.0, but not by this bundle, and it cannot be told that the images are the same: ";
    assert!(failure.to_string().starts_with(words), "{failure}");
    assert!(lab.device.bytes() == before);
    forget_index(&lab);
    lab.disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    let failure = repair(&lab, &second).await.expect_err("not known");
    assert!(failure.to_string().starts_with(words), "{failure}");
}
