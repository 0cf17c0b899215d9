//! Slots that a delta has made: recognized, verified and repaired with the full bundle.

use super::{A, SECOND, THIRD, boot, delta, holds, release, report};
use bootctl::device::BlockDevice as _;
use bootctl::store::RecordStore;
use record::Slot;
use seal::SEAL_LEN;
use std::sync::Arc;
use tests::memory_machine::{FIRST, MemoryMachine, chain, installed, options};
use updater::events::Silent;
use updater::plan::UpToDate;
use updater::source::{MemorySource, Retries};
use updater::verify_slot::{Comparison, verify_slot};
use updater::{ApplyFailure, Incoming, Options, Outcome, RepairOutcome, SealedSlot, TargetMachine};

/// Returns a machine that runs slot A; a delta has made the older release in slot B.
async fn fallback_made_by_delta(second: &[u8]) -> MemoryMachine {
    let machine = installed(512).await;
    report(
        machine
            .update(delta(&FIRST.bundle(), second), Slot::A)
            .await,
    );
    machine.commit(Slot::B);
    report(
        machine
            .update(delta(second, &release(&THIRD, 2)), Slot::B)
            .await,
    );
    machine.commit(Slot::A);
    machine
}

async fn repair(machine: &MemoryMachine, bundle: &[u8]) -> Result<RepairOutcome, ApplyFailure> {
    let disk = machine.disk();
    let store = RecordStore::open(&disk).expect("store");
    let machine = TargetMachine {
        disk,
        store,
        vars: None,
        booted: A,
        now: 0,
    };
    let (trust, on_retry) = (chain(), |_: &_, _| ());
    let source = MemorySource::new(bundle.to_vec(), 10_000);
    let incoming = Incoming::open(source, &trust, Retries::default(), &on_retry).await?;
    let options = Options {
        adaptive: false,
        ..options(&trust)
    };
    incoming.repair(Slot::B, &machine, &options, &Silent).await
}

/// Verifies slot B against its stored metadata, or against a bundle.
async fn is_whole(machine: &MemoryMachine, bundle: Option<&[u8]>) -> bool {
    let (disk, record, trust) = (machine.disk(), machine.record(), chain());
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
    let comparison = Comparison {
        sealed: SealedSlot {
            disk: &disk,
            slot: Slot::B,
            trust: &trust,
        },
        state,
        release,
        jobs: 2,
    };
    verify_slot(&comparison, &Silent)
        .await
        .expect("compared")
        .is_intact()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_release_is_recognized_by_full_bundle_and_delta() {
    let (first, second) = (FIRST.bundle(), release(&SECOND, 1));
    let bundles = [second.clone(), delta(&first, &second)];
    for (installed_by, offered) in [(0, 1), (1, 0)] {
        let machine = installed(512).await;
        report(machine.update(bundles[installed_by].clone(), Slot::A).await);
        machine.commit(Slot::B);
        let before = machine.device.bytes();
        let again = machine.update(bundles[offered].clone(), Slot::B).await;
        assert!(
            matches!(again, Ok(Outcome::UpToDate(UpToDate { slot: Slot::B }))),
            "{again:?}"
        );
        // The same version with other images is another release.
        let rebuilt = release(&SECOND, 5);
        let failure = machine
            .update(delta(&first, &rebuilt), Slot::B)
            .await
            .expect_err("refused");
        assert_eq!(
            failure.to_string(),
            "release 1.1.0 is a delta to 1.0.0: slot B holds 1.1.0"
        );
        assert!(machine.device.bytes() == before);
        report(machine.update(rebuilt, Slot::B).await);
        holds(&machine, Slot::A, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_stored_index_is_recognized_by_its_root_image() {
    let (first, second) = (FIRST.bundle(), release(&SECOND, 1));
    let machine = installed(512).await;
    report(machine.update(second.clone(), Slot::A).await);
    machine.commit(Slot::B);
    delete_index(&machine);
    let again = machine.update(delta(&first, &second), Slot::B).await;
    assert!(matches!(again, Ok(Outcome::UpToDate(_))), "{again:?}");
    machine
        .disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    let failure = machine
        .update(delta(&first, &second), Slot::B)
        .await
        .expect_err("not known");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 is a delta to 1.0.0: slot B holds 1.1.0"
    );
}

/// Deletes the stored metadata of slot B.
fn delete_index(machine: &MemoryMachine) {
    let index = (SEAL_LEN + boot(1).len()).next_multiple_of(4096) as u64;
    machine
        .disk()
        .boot(Slot::B)
        .expect("boot")
        .write_at(index, &[0; 4096])
        .expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_made_by_a_delta_is_verified_and_repaired_with_the_full_bundle() {
    let second = release(&SECOND, 1);
    let machine = fallback_made_by_delta(&second).await;
    assert!(is_whole(&machine, None).await && is_whole(&machine, Some(&second)).await);
    machine
        .disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    assert!(!is_whole(&machine, None).await && !is_whole(&machine, Some(&second)).await);
    let repaired = repair(&machine, &second).await;
    let Ok(RepairOutcome::Repaired(report)) = repaired else {
        panic!("not repaired: {repaired:?}")
    };
    assert!(report.written_bytes <= 64 << 10, "{report:?}");
    holds(&machine, Slot::B, 1);
    assert!(machine.record().slot(Slot::B).is_good() && machine.record().default == Slot::A);
    assert!(
        is_whole(&machine, None).await,
        "it has the seal and the index of the full bundle now"
    );
    let again = repair(&machine, &second).await;
    assert!(
        matches!(again, Ok(RepairOutcome::Intact(Slot::B))),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_not_repaired_if_its_images_may_differ_from_the_bundle() {
    let second = release(&SECOND, 1);
    let machine = fallback_made_by_delta(&second).await;
    let before = machine.device.bytes();
    let failure = repair(&machine, &release(&SECOND, 7))
        .await
        .expect_err("other images");
    let words = "slot B holds release 1.1.0 from another bundle, and its images are not known to be the same: ";
    assert!(failure.to_string().starts_with(words), "{failure}");
    assert!(machine.device.bytes() == before);
    delete_index(&machine);
    machine
        .disk()
        .root(Slot::B)
        .expect("root")
        .write_at(2_000_000, b"damage")
        .expect("damage");
    let failure = repair(&machine, &second).await.expect_err("not known");
    assert!(failure.to_string().starts_with(words), "{failure}");
}
