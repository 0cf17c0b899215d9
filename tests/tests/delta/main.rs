//! Delta bundles are applied to their base release and to no other, whatever the state of its slot.

mod damaged_base;
mod repair;

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bundle::create::BundleOutput;
use bundle::delta::{self, DeltaOptions};
use bundle::open::{Access, Opener, SlotImages};
use record::{Choice, Slot};
use seal::{Purpose, SEAL_LEN};
use std::fs::File;
use std::io::{Cursor, Seek as _, Write as _};
use std::sync::Arc;
use tests::memory_machine::{
    FIRST, MemoryMachine, Sample, chain, image, installed, key, options, trust,
};
use updater::events::Silent;
use updater::source::{MemorySource, Retries};
use updater::{ApplyFailure, Incoming, Outcome, Report, TargetMachine};

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

/// Returns the delta between two bundles.
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

/// Returns up to 64 KiB that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    image(seed, 300_000)[..len].to_vec()
}

/// Returns the root image of the first release with a range inserted, one overwritten and one moved.
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

/// Checks that `slot` has the images of this seed.
fn holds(machine: &MemoryMachine, slot: Slot, seed: u64) {
    let [in_boot, in_root] = machine.bytes(slot);
    assert!(in_boot[SEAL_LEN..].starts_with(&boot(seed)), "boot image");
    assert!(in_root.starts_with(&root(seed)), "root image");
}

fn report(outcome: Result<Outcome, ApplyFailure>) -> Report {
    match outcome {
        Ok(Outcome::Activated(report)) => report,
        other => panic!("not activated: {other:?}"),
    }
}

/// Applies a delta through `device`, with the full bundle as a substitute if there is one.
async fn update(
    device: Arc<dyn BlockDevice>,
    delta: &[u8],
    full: Option<&[u8]>,
) -> Result<Outcome, ApplyFailure> {
    let disk = Disk::open(device).expect("disk");
    let store = RecordStore::open(&disk).expect("store");
    let machine = TargetMachine {
        disk,
        store,
        vars: None,
        booted: A,
        now: 0,
    };
    let (trust, on_retry) = (chain(), |_: &_, _| ());
    let source = |bytes: &[u8]| MemorySource::new(bytes.to_vec(), 10_000);
    let mut incoming = Incoming::open(source(delta), &trust, Retries::default(), &on_retry).await?;
    if let Some(full) = full {
        incoming = incoming.with_full(source(full), &on_retry);
    }
    incoming.apply(&machine, &options(&trust), &Silent).await
}

fn device(machine: &MemoryMachine) -> Arc<dyn BlockDevice> {
    Arc::clone(&machine.device) as Arc<dyn BlockDevice>
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_makes_the_new_release_and_is_the_base_of_the_next() {
    for sector_size in [512, 4096] {
        let machine = installed(sector_size).await;
        let (first, second, third) = (FIRST.bundle(), release(&SECOND, 1), release(&THIRD, 2));
        let bundle = delta(&first, &second);
        assert!(
            bundle.len() < second.len() / 10,
            "{} of {}",
            bundle.len(),
            second.len()
        );
        let done = report(machine.update(bundle.clone(), Slot::A).await);
        holds(&machine, Slot::B, 1);
        assert!(done.fetched_bytes <= bundle.len() as u64, "{done:?}");
        assert_eq!((done.version.as_str(), done.slot), ("1.1.0", 'b'));
        machine.commit(Slot::B);
        // Slot B has the index of a delta, which identifies its content as well.
        report(machine.update(delta(&second, &third), Slot::B).await);
        holds(&machine, Slot::A, 2);
        machine.commit(Slot::A);
        // The same delta again: nothing to do.
        let again = machine.update(delta(&second, &third), Slot::A).await;
        assert!(matches!(again, Ok(Outcome::UpToDate(_))), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_of_various_changes_are_applied() {
    let first = FIRST.bundle();
    for seed in 3..9 {
        let machine = installed(512).await;
        let mut pipe =
            MemorySource::new(delta(&first, &release(&SECOND, seed)), 3000 + seed as usize);
        pipe.seekable = seed % 2 == 0;
        report(machine.update_from(pipe, A).await);
        holds(&machine, Slot::B, seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_with_another_release_is_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
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
    for (base, expected) in [
        (old, "release 1.1.0 is a delta to 0.9.0: slot A holds 1.0.0"),
        (
            rebuilt(&other_root),
            "release 1.1.0 is a delta to 1.0.0: slot A holds another root image of that version",
        ),
        (
            rebuilt(&other_boot),
            "release 1.1.0 is a delta to 1.0.0: slot A holds another boot image of that version",
        ),
    ] {
        let failure = machine
            .update(delta(&base, &second), Slot::A)
            .await
            .expect_err("refused");
        assert_eq!(failure.to_string(), expected);
        assert_eq!(failure.disarmed, None);
        assert!(machine.device.bytes() == before, "{expected}");
    }
    // An installation needs a full bundle.
    let empty = MemoryMachine::new(512);
    let before = empty.device.bytes();
    let bundle = delta(&FIRST.bundle(), &second);
    let error = empty
        .install(bundle)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("release 1.1.0 is a delta to 1.0.0: an installation needs a full bundle"),
        "{error}"
    );
    assert!(empty.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_deltas_leave_the_running_slot_and_an_unbootable_target() {
    let machine = installed(512).await;
    let slot_a = machine.bytes(Slot::A);
    let good = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let step = good.len() / 40;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
        let mut flipped = good.clone();
        flipped[at] ^= 4;
        for bad in [flipped, good[..at].to_vec()] {
            // Chunks that an earlier attempt has written would not be read from the bundle.
            for window in [machine.disk().boot(Slot::B), machine.disk().root(Slot::B)] {
                let window = window.expect("partition");
                window.write_zeroes_at(0, window.len()).expect("cleared");
            }
            let failed = machine.update(bad, Slot::A).await;
            assert!(failed.is_err(), "byte {at}");
            assert!(machine.bytes(Slot::A) == slot_a);
            assert_eq!(machine.record().default, Slot::A);
            assert!(!machine.record().slot(Slot::B).is_good());
        }
    }
    report(machine.update(good, Slot::A).await);
    holds(&machine, Slot::B, 1);
}

#[test]
fn a_delta_is_signed_and_verified_like_a_bundle() {
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let opened = Opener::open(
        Cursor::new(&bundle),
        Access::Verify(&trust(), Purpose::Release),
        1,
    );
    opened.expect("opened").check(&mut |_| ()).expect("checked");
}
