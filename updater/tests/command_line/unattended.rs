//! Unattended updates: `apply --if-newer` decides in the download that it applies, and an operator
//! can change the boot record while a download runs.

use crate::fixture::{Bench, Finished, bundle, server_that};
use fixtures::hostile::{Asked, HostileServer, Step, honestly};
use record::{Reason, Slot, Status};
use std::process::Stdio;
use std::sync::mpsc::channel;

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
