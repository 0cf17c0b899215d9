//! Unattended updates: `apply --if-newer` decides in the download that it applies, and an operator
//! can change the boot record while a download runs.

use crate::fixture::{Bench, Finished, GIVEN, bundle, server_that};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bootctl::transition;
use fixtures::hostile::{Asked, HostileServer, Step, cut, honestly};
use record::{Choice, Reason, Record, Slot, Status};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// Returns a machine that runs 1.1.0 (index 2) in slot B, and has 1.0.0 (index 1) in slot A. Its
/// floor is 1.
fn bench_on_b() -> Bench {
    let bench = Bench::new();
    let newer = bench.file("1.1.0.bundle");
    assert_eq!(
        bench.run("apply", &[newer.to_str().expect("path")]).code,
        Some(0)
    );
    bench.commit(Slot::B);
    bench
}

fn apply_if_newer(bench: &Bench, booted: char, source: &str) -> Finished {
    let output = bench
        .command_as(booted, "apply")
        .args([source, "--if-newer", "--json", "--progress", "none"])
        .output();
    Finished::new(&output.expect("rayos-updater"))
}

/// Asserts that nothing was changed, because of this verdict.
#[track_caller]
fn does_nothing(bench: &Bench, booted: char, offered: Vec<u8>, verdict: &str) -> Finished {
    let path = bench.file("offered.bundle");
    std::fs::write(&path, offered).expect("bundle");
    let before = bench.bytes();
    let finished = apply_if_newer(bench, booted, path.to_str().expect("path"));
    assert_eq!(finished.code, Some(7), "{finished:?}");
    let json = finished.json();
    assert_eq!(json["result"], "not-newer");
    assert_eq!(json["verdict"], verdict);
    assert!(bench.bytes() == before, "the disk changed");
    finished
}

#[test]
fn a_server_that_offers_a_newer_release_and_then_an_older_one_downgrades_nothing() {
    let bench = bench_on_b();
    let [newer, older] = [bundle("1.2.0", 3, 1), bundle("1.0.9", 1, 1)];
    let server = HostileServer::start(move |asked: &Asked| match asked.number {
        0 => honestly(&newer, asked),
        _ => honestly(&older, asked),
    })
    .expect("server");
    let url = server.url("x");
    let check = bench.command_as('b', "check").arg(&url).output();
    let check = Finished::new(&check.expect("rayos-updater"));
    assert_eq!(check.code, Some(0), "{check:?}");
    let before = bench.bytes();
    let finished = apply_if_newer(&bench, 'b', &url);
    assert_eq!(finished.code, Some(7), "{finished:?}");
    assert_eq!(
        finished.json()["sentence"],
        "1.0.9 is older than 1.1.0",
        "{finished:?}"
    );
    assert!(bench.bytes() == before, "the disk changed");
    // By hand, the older release is within the floor.
    let by_hand = bench.command_as('b', "apply").arg(&url).output();
    assert_eq!(by_hand.expect("rayos-updater").status.code(), Some(0));
}

#[test]
fn a_newer_release_is_applied_and_not_a_second_time() {
    let bench = Bench::new();
    let path = bench.file("1.1.0.bundle");
    let finished = apply_if_newer(&bench, 'a', path.to_str().expect("path"));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.json()["result"], "activated");
    let waiting = does_nothing(&bench, 'a', bundle("1.1.0", 2, 1), "waiting");
    assert_eq!(waiting.json()["slot"], "b");
    // One that is older than the one that waits must not replace it, nor must an equal one.
    does_nothing(&bench, 'a', bundle("1.0.5", 1, 1), "older");
    does_nothing(&bench, 'a', bundle("1.1.1", 2, 1), "other");
}

#[test]
fn a_release_that_failed_or_was_rolled_back_here_is_not_applied_again() {
    for (reason, verdict) in [
        (Reason::TriesExhausted, "failed"),
        (Reason::MarkedBad, "rolled-back"),
        (Reason::RolledBack, "rolled-back"),
    ] {
        let bench = Bench::new();
        let path = bench.file("1.1.0.bundle");
        assert_eq!(
            bench.run("apply", &[path.to_str().expect("path")]).code,
            Some(0)
        );
        bench.change(|record| {
            let mut record = *record;
            record.slots[1].status = Status::Unbootable;
            record.slots[1].reason = reason;
            record
        });
        does_nothing(&bench, 'a', bundle("1.1.0", 2, 1), verdict);
    }
}

#[test]
fn another_release_with_the_same_index_is_not_newer() {
    let bench = Bench::new();
    let finished = does_nothing(&bench, 'a', bundle("1.0.1", 1, 1), "other");
    assert_eq!(
        finished.json()["sentence"],
        "1.0.1 is another release than 1.0.0, with the same rollback index, so it is not newer"
    );
    let text = bench.run(
        "apply",
        &[
            bench.file("offered.bundle").to_str().expect("path"),
            "--if-newer",
        ],
    );
    assert!(text.out.ends_with(": nothing to do.\n"), "{text:?}");
}

#[test]
fn an_interrupted_update_is_continued() {
    let bench = Bench::new();
    let server = server_that(Step::Close, bundle("1.1.0", 2, 1), channel().0);
    let url = server.url("x");
    let interrupted = bench.run("apply", &[&url, "--if-newer", "--retries", "0"]);
    assert_ne!(interrupted.code, Some(0), "{interrupted:?}");
    let path = bench.file("1.1.0.bundle");
    let finished = apply_if_newer(&bench, 'a', path.to_str().expect("path"));
    assert_eq!(finished.json()["result"], "activated", "{finished:?}");
}

#[test]
fn the_disk_is_not_locked_while_the_server_withholds_the_head() {
    let bench = Bench::new();
    let (sent, is_sent) = channel();
    let server = HostileServer::start(move |_: &Asked| {
        sent.send(()).ok();
        vec![Step::Stall]
    })
    .expect("server");
    let mut child = bench
        .command("apply")
        .arg(server.url("x"))
        .stderr(Stdio::null())
        .spawn()
        .expect("rayos-updater");
    is_sent.recv().expect("request");
    let path = bench.file("1.1.0.bundle");
    let meanwhile = bench.run("apply", &[path.to_str().expect("path")]);
    child.kill().expect("kill");
    child.wait().expect("end");
    assert_eq!(meanwhile.code, Some(0), "{meanwhile:?}");
}

/// Changes the boot record while the first half of an update is written, as `rayos-bootctl` does.
/// Returns the result of the update.
fn change_in_the_middle(
    bench: &Bench,
    change: impl FnOnce(&Record) -> Result<Record, transition::Refusal>,
) -> Finished {
    let (reached, is_reached) = channel();
    let (release, is_released) = channel::<()>();
    let is_released = Mutex::new(is_released);
    let file = bundle("1.1.0", 2, 1);
    let server = HostileServer::start(move |asked: &Asked| {
        let (from, to) = asked.range.expect("range");
        let is_payload = from > 0 && to != Some(file.len() as u64);
        match asked.number {
            // The first half, after which the slot is disarmed.
            1 if is_payload => cut(&file, asked, GIVEN, Step::Close),
            2 if is_payload => {
                reached.send(()).ok();
                is_released.lock().expect("lock").recv().ok();
                honestly(&file, asked)
            }
            _ => honestly(&file, asked),
        }
    })
    .expect("server");
    let child = bench
        .command("apply")
        .args([&server.url("x"), "--no-adaptive"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rayos-updater");
    is_reached.recv().expect("second request");
    let image = bench.file("disk.img");
    let device = FileDevice::open(&image, Access::Record, SectorSize::Detect).expect("no lock");
    let store = RecordStore::open(&Disk::open(Arc::new(device)).expect("disk")).expect("store");
    let before = store.read().expect("record");
    assert_eq!(before.slot(Slot::B).reason, Reason::Updating);
    let changed = change(&before).expect("accepted");
    store.write(&changed).expect("record");
    release.send(()).expect("server");
    Finished::new(&child.wait_with_output().expect("end"))
}

#[test]
fn an_operator_can_request_recovery_while_an_update_is_written() {
    let bench = Bench::new();
    let finished = change_in_the_middle(&bench, |record| {
        transition::boot_once(record, Choice::Recovery)
    });
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let record = bench.record();
    assert_eq!(record.one_shot, Some(Choice::Recovery));
    let status = record.slot(Slot::B).status;
    assert!(matches!(status, Status::Pending { .. }), "{status:?}");
}

#[test]
fn an_operator_can_mark_the_slot_bad_while_an_update_is_written() {
    let bench = Bench::new();
    let finished = change_in_the_middle(&bench, |record| transition::mark_bad(record, Slot::B));
    assert_eq!(finished.code, Some(8), "{finished:?}");
    assert!(
        finished
            .err
            .contains("slot B was marked bad while it was written"),
        "{finished:?}"
    );
    let record = bench.record();
    assert_eq!(record.slot(Slot::B).status, Status::Unbootable);
    assert_eq!(record.slot(Slot::B).reason, Reason::MarkedBad);
}

#[test]
fn a_server_that_fails_at_the_payload_leaves_the_fallback() {
    let bench = bench_on_b();
    let file = bundle("1.2.0", 3, 1);
    let other = vec![0x55; file.len()];
    let unavailable = |_: &Asked| {
        let head = fixtures::hostile::head("503 Service Unavailable", &[("Content-Length", "0")]);
        vec![Step::Send(head)]
    };
    let head_then = |payload: fn(&Asked, &[u8]) -> Vec<Step>, bytes: Vec<u8>| {
        let file = file.clone();
        HostileServer::start(move |asked: &Asked| {
            let (from, to) = asked.range.expect("range");
            if from == 0 || to == Some(file.len() as u64) {
                honestly(&file, asked)
            } else {
                payload(asked, &bytes)
            }
        })
        .expect("server")
    };
    for (server, code) in [
        (head_then(|_, _| vec![Step::Close], Vec::new()), 1),
        (head_then(|asked, bytes| honestly(bytes, asked), other), 3),
        (HostileServer::start(unavailable).expect("server"), 1),
    ] {
        let before = bench.bytes();
        let output = bench
            .command_as('b', "apply")
            .args([&server.url("x"), "--retries", "0", "--no-adaptive"])
            .output();
        let finished = Finished::new(&output.expect("rayos-updater"));
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(bench.bytes() == before, "the disk changed");
        assert!(bench.record().slot(Slot::A).is_good());
    }
}
