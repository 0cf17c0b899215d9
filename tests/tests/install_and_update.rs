//! Installation and updates on a disk in memory, by the real installer, updater and boot control:
//! both give the same slot, and neither writes where it must not.

use bootctl::log::EventLog;
use record::{Choice, Slot, Status};
use std::sync::Arc;
use tests::memory_machine::{FIRST, MemoryMachine, OLD, SECOND, image, installed, trust};
use updater::plan::Refusal;
use updater::source::{Fault, MemorySource};
use updater::{ApplyError, Outcome};

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_the_same_whether_installed_or_updated() {
    for sector_size in [512, 4096] {
        let updated = installed(sector_size).await;
        updated
            .update(SECOND.bundle(), Slot::A)
            .await
            .expect("updated");
        let fresh = MemoryMachine::new(sector_size);
        fresh.install(SECOND.bundle()).await.expect("installed");
        assert!(
            updated.bytes(Slot::B) == fresh.bytes(Slot::A),
            "the partitions of the slot differ"
        );
        let (updated, fresh) = (
            *updated.record().slot(Slot::B),
            *fresh.record().slot(Slot::A),
        );
        assert_eq!(
            (updated.status, updated.release),
            (fresh.status, fresh.release)
        );
        assert_eq!(
            (updated.tries_granted, updated.reason),
            (fresh.tries_granted, fresh.reason)
        );
        assert_eq!(updated.status, Status::Pending { tries_left: 3 });
    }
}

/// Returns the content of the boot entries, without their numbers.
fn entries(machine: &MemoryMachine) -> Vec<Vec<u8>> {
    let vars = machine.vars.all();
    let is_entry = |name: &str| name.len() == 8 && name.starts_with("Boot") && name != "BootNext";
    let mut entries: Vec<_> = vars
        .into_iter()
        .filter(|(name, _)| is_entry(&name.name))
        .map(|(_, value)| value.data)
        .collect();
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entries_are_the_same_whether_installed_or_updated() {
    let updated = installed(512).await;
    updated
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    let fresh = MemoryMachine::new(512);
    fresh.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(
        entries(&fresh).len(),
        3,
        "there is not one entry for each slot and recovery"
    );
    assert_eq!(entries(&updated), entries(&fresh));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_leaves_the_booted_slot_unchanged_and_logs_its_steps() {
    let machine = installed(512).await;
    let before = machine.bytes(Slot::A);
    let Outcome::Activated(report) = machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated")
    else {
        panic!("not activated")
    };
    assert_eq!(
        (report.slot, report.version.as_str(), report.image_bytes),
        ('b', "1.1.0", 3_700_000)
    );
    assert!(machine.bytes(Slot::A) == before);
    assert_eq!(machine.record().default, Slot::A);
    let [boot, root] = machine.bytes(Slot::B);
    let bundle = SECOND.bundle();
    assert!(
        boot[..4096] == bundle[..4096],
        "the boot partition does not begin with the bundle's seal"
    );
    assert!(boot[4096..][..700_000] == image(20, 700_000));
    assert!(root[..3_000_000] == image(21, 3_000_000));
    let events = EventLog::open(&machine.disk())
        .expect("ring")
        .events()
        .expect("events");
    let story: Vec<String> = events
        .iter()
        .map(|event| format!("{} {}", event.kind.word(), event.version))
        .collect();
    assert_eq!(
        story,
        [
            "disarmed 1.0.0",
            "activated 1.0.0",
            "disarmed 1.1.0",
            "activated 1.1.0"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_update_fetches_nothing() {
    let machine = installed(512).await;
    machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    let Outcome::Activated(again) = machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("again")
    else {
        panic!("not activated")
    };
    assert_eq!((again.written_bytes, again.reused_bytes), (0, 3_700_000));
    let head_only = SECOND.bundle().len() as u64 / 10;
    assert!(
        again.fetched_bytes < head_only,
        "{} bytes were fetched",
        again.fetched_bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_release_that_runs_is_not_applied_again() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let outcome = machine
        .update(FIRST.bundle(), Slot::A)
        .await
        .expect("outcome");
    assert!(matches!(outcome, Outcome::UpToDate(_)));
    assert!(machine.device.bytes() == before, "the disk has changed");
}

/// Returns the error of a refused update. Checks that disk and variables are unchanged.
async fn refused(machine: &MemoryMachine, bundle: Vec<u8>) -> ApplyError {
    let (disk, writes) = (machine.device.bytes(), machine.vars.writes());
    let failure = machine.update(bundle, Slot::A).await.expect_err("refused");
    assert_eq!(failure.disarmed, None);
    assert!(
        machine.device.bytes() == disk,
        "a refused update has changed the disk"
    );
    assert_eq!(
        machine.vars.writes(),
        writes,
        "a refused update has changed the variables"
    );
    failure.error
}

#[tokio::test(flavor = "multi_thread")]
async fn unsuitable_bundles_are_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    let old = refused(&machine, OLD.bundle()).await;
    assert_eq!(
        old.to_string(),
        "release 0.9.0 has rollback index 0: this machine accepts 1 or higher"
    );
    let other = refused(&machine, SECOND.bundle_for("other-machine", 1)).await;
    assert_eq!(
        other.to_string(),
        "release 1.1.0 is compatible with other-machine: this machine is test-machine"
    );
    let stranger = refused(&machine, SECOND.bundle_for("test-machine", 9)).await;
    assert_eq!(
        stranger.to_string(),
        "signed by 0 trusted release key(s), expected 1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_head_is_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    let sound = SECOND.bundle();
    let release = {
        let mut parser = bundle::HeadParser::new(&trust(), seal::Purpose::Release);
        parser.feed(&sound).expect("head");
        Arc::clone(parser.release().expect("release"))
    };
    let head = release.payload_range().start as usize;
    for at in (0..head).step_by(101) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&machine, flipped).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_payload_is_found_before_it_is_written() {
    let machine = installed(512).await;
    let booted = machine.bytes(Slot::A);
    let mut flipped = SECOND.bundle();
    let at = flipped.len() / 2;
    flipped[at] ^= 0x10;
    let failure = machine.update(flipped, Slot::A).await.expect_err("refused");
    assert!(matches!(failure.error, ApplyError::Bundle(_)), "{failure}");
    assert_eq!(failure.disarmed, Some(Slot::B));
    assert_eq!(machine.record().slot(Slot::B).status, Status::Unbootable);
    assert!(
        machine.bytes(Slot::B)[0][..4096]
            .iter()
            .all(|byte| *byte == 0),
        "the slot has a header"
    );
    assert!(machine.bytes(Slot::A) == booted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    let mut flipped = SECOND.bundle();
    let at = flipped.len() / 2;
    flipped[at] ^= 0x10;
    let disk = machine.device.bytes();
    let mut source = MemorySource::new(flipped, 10_000);
    source.local = true;
    let failure = machine
        .update_from(source, Choice::Slot(Slot::A))
        .await
        .expect_err("refused");
    assert!(matches!(failure.error, ApplyError::Bundle(_)), "{failure}");
    assert_eq!(failure.disarmed, None);
    assert!(
        machine.device.bytes() == disk,
        "a refused update has changed the disk"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_update_continues() {
    let machine = installed(512).await;
    let bundle = SECOND.bundle();
    let mut pipe =
        MemorySource::new(bundle.clone(), 10_000).with_faults([Fault::DropAfter(2_000_000)]);
    pipe.seekable = false;
    machine
        .update_from(pipe, Choice::Slot(Slot::A))
        .await
        .expect_err("interrupted");
    assert_eq!(machine.record().slot(Slot::B).status, Status::Unbootable);
    let Outcome::Activated(report) = machine.update(bundle, Slot::A).await.expect("resumed") else {
        panic!("not activated")
    };
    assert!(report.reused_bytes > 1_500_000, "{report:?}");
    assert!(report.fetched_bytes < 1_500_000, "{report:?}");
    assert!(machine.bytes(Slot::B)[1][..3_000_000] == image(21, 3_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_of_a_release_on_trial_is_not_overwritten() {
    let machine = installed(512).await;
    machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    let failure = machine
        .update(FIRST.bundle(), Slot::B)
        .await
        .expect_err("refused");
    assert!(
        matches!(failure.error, ApplyError::Refused(Refusal::NoTarget(_))),
        "{failure}"
    );
    assert_eq!(failure.disarmed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_bundle_is_refused_before_the_disk_is_written() {
    let machine = MemoryMachine::new(512);
    let blank = machine.device.bytes();
    for bundle in [
        SECOND.bundle_for("test-machine", 9),
        SECOND.bundle_for("other-machine", 1),
        b"x".to_vec(),
    ] {
        let error = machine.install(bundle).await.expect_err("refused");
        assert!(error.disk_is_unchanged(), "{error}");
        assert!(machine.device.bytes() == blank);
    }
}
