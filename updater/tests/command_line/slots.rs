//! `verify-slot` and `repair`: damage is found and named, and only damaged chunks are fetched.

use crate::fixture::{Bench, Finished, bundle, server_that};
use bootctl::device::BlockDevice as _;
use bootctl::transition::{self, TargetSlot};
use fixtures::hostile::{HostileServer, Step, honestly};
use record::{Choice, Reason, Slot, Status};
use std::sync::mpsc::channel;

const GOOD: Status = Status::Good {
    budget_left: record::GOOD_BUDGET,
};

/// Returns a machine on which slot B runs 1.1.0, committed, and slot A holds 1.0.0 as the fallback.
fn updated() -> Bench {
    let bench = Bench::new();
    let applied = bench.run(
        "apply",
        &[bench.file("1.1.0.bundle").to_str().expect("path")],
    );
    assert_eq!(applied.code, Some(0), "{applied:?}");
    bench.commit(Slot::B);
    bench
}

fn run(bench: &Bench, verb: &str, arguments: &[&str]) -> Finished {
    Finished::new(
        &bench
            .command_as('b', verb)
            .args(arguments)
            .output()
            .expect("rayos-updater"),
    )
}

fn damage_root(bench: &Bench, slot: Slot, offset: u64) {
    let root = bench.disk().root(slot).expect("root");
    let mut byte = [0];
    root.read_at(offset, &mut byte).expect("read");
    root.write_at(offset, &[!byte[0]]).expect("write");
    root.flush().expect("flush");
}

fn write_boot(bench: &Bench, slot: Slot, offset: u64, bytes: &[u8]) {
    let boot = bench.disk().boot(slot).expect("boot");
    boot.write_at(offset, bytes).expect("write");
    boot.flush().expect("flush");
}

fn server() -> HostileServer {
    let file = bundle("1.0.0", 1, 1);
    HostileServer::start(move |asked| honestly(&file, asked)).expect("server")
}

#[test]
fn a_slot_is_compared_with_its_stored_metadata() {
    let bench = updated();
    for slot in ["a", "b"] {
        let finished = run(&bench, "verify-slot", &[slot, "--json"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let json = finished.json();
        assert_eq!(
            (&json["result"], &json["report"]["compared_with"]),
            (&"intact".into(), &"slot".into())
        );
    }
    let before = bench.bytes();
    damage_root(&bench, Slot::A, 1_000_000);
    damage_root(&bench, Slot::A, 2_999_999);
    let finished = run(&bench, "verify-slot", &["a", "--json"]);
    assert_eq!(finished.code, Some(6), "{finished:?}");
    let [boot, root] = [0, 1].map(|image| finished.json()["report"]["images"][image].clone());
    assert_eq!(
        (&boot["partition"], &boot["intact"]),
        (&"boot-a".into(), &true.into())
    );
    assert_eq!(
        (&root["partition"], &root["intact"]),
        (&"root-a".into(), &false.into())
    );
    assert_eq!(root["damaged_chunks"], 2);
    let range = |damage: usize| {
        let offset = root["damaged"][damage]["offset"].as_u64().expect("offset");
        offset..offset + root["damaged"][damage]["len"].as_u64().expect("len")
    };
    assert!(
        range(0).contains(&1_000_000) && range(1).contains(&2_999_999),
        "{root}"
    );
    let finished = run(&bench, "verify-slot", &["a"]);
    assert!(
        finished
            .out
            .contains("root-a: root image is damaged: 2 chunks, "),
        "{finished:?}"
    );
    assert!(
        finished
            .out
            .ends_with("Slot A does not hold 1.0.0 as it was signed.\n"),
        "{finished:?}"
    );
    assert_ne!(bench.bytes(), before, "the damage");
}

#[test]
fn without_stored_metadata_the_images_are_compared_as_a_whole() {
    let bench = updated();
    // The stored metadata begins at the first multiple of 4096 behind the image.
    write_boot(&bench, Slot::A, 4096 + 102_400, &[0; 4096]);
    let finished = run(&bench, "verify-slot", &["a", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let json = finished.json();
    assert_eq!(json["report"]["compared_with"], "nothing");
    let intact = [0, 1].map(|image| json["report"]["images"][image]["intact"].as_bool());
    assert_eq!(intact, [Some(true), Some(true)]);
    let server = server();
    let finished = run(
        &bench,
        "verify-slot",
        &["a", "--bundle", &server.url("1.0.0")],
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let other = bench.file("1.1.0.bundle");
    let finished = run(
        &bench,
        "verify-slot",
        &["a", "--bundle", other.to_str().expect("path")],
    );
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert_eq!(
        finished.err,
        "rayos-updater: slot A holds release 1.0.0: the bundle is release 1.1.0\n"
    );
}

#[test]
fn a_damaged_or_missing_seal_is_reported() {
    let bench = updated();
    write_boot(&bench, Slot::A, 300, &[1]);
    let finished = run(&bench, "verify-slot", &["a"]);
    assert_eq!(finished.code, Some(6), "{finished:?}");
    assert!(
        finished.err.starts_with("rayos-updater: boot-a: "),
        "{finished:?}"
    );
    let empty = Bench::new();
    let finished = empty.run("verify-slot", &["b"]);
    assert_eq!(
        (
            finished.code,
            finished.err.contains("slot B holds no release")
        ),
        (Some(6), true),
        "{finished:?}"
    );
}

#[test]
fn a_repair_fetches_damaged_chunks_and_changes_nothing_else() {
    let bench = updated();
    let before = bench.bytes();
    damage_root(&bench, Slot::A, 1_000_000);
    let server = server();
    let from = ["a", "--from", &server.url("1.0.0"), "--json"];
    let finished = run(&bench, "repair", &from);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let json = finished.json();
    assert_eq!(json["result"], "repaired");
    let written = json["report"]["written_bytes"].as_u64().expect("bytes");
    assert!((1..=64 * 1024).contains(&written), "{json}");
    assert!(
        json["report"]["fetched_bytes"].as_u64().expect("bytes") < 400_000,
        "{json}"
    );
    let record = bench.record();
    assert_eq!(
        (record.slot(Slot::A).status, record.slot(Slot::A).reason),
        (GOOD, Reason::None)
    );
    assert_eq!(record.default, Slot::B, "the default slot is unchanged");
    // The event ring has new events; nothing else differs.
    let state = {
        let state = bench.disk().state().expect("state");
        state.start() as usize..(state.start() + state.len()) as usize
    };
    let mut after = bench.bytes();
    after[state.clone()].copy_from_slice(&before[state]);
    assert!(after == before);
    let finished = run(&bench, "repair", &from);
    assert_eq!(
        (finished.code, &finished.json()["result"]),
        (Some(7), &"intact".into()),
        "{finished:?}"
    );
}

#[test]
fn an_interrupted_repair_leaves_the_slot_unbootable_and_can_be_continued() {
    let bench = updated();
    damage_root(&bench, Slot::A, 1_000_000);
    // The server delivers the first damaged chunk, and not the second.
    damage_root(&bench, Slot::A, 2_500_000);
    let (sent, stalled) = channel();
    let broken = server_that(Step::Close, bundle("1.0.0", 1, 1), sent);
    let finished = run(
        &bench,
        "repair",
        &["a", "--from", &broken.url("x"), "--retries", "0"],
    );
    stalled.recv().expect("a request for the damaged chunk");
    assert_eq!(finished.code, Some(8), "{finished:?}");
    let cut = bench.record();
    assert_eq!(
        (cut.slot(Slot::A).status, cut.slot(Slot::A).reason),
        (Status::Unbootable, Reason::Repairing)
    );
    let server = server();
    let finished = run(&bench, "repair", &["a", "--from", &server.url("x")]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        (bench.record().slot(Slot::A).status, bench.record().default),
        (GOOD, Slot::B)
    );
    assert_eq!(run(&bench, "verify-slot", &["a"]).code, Some(0));
    // As if interrupted after all chunks were written, before the seal.
    bench.change(|record| {
        let target = TargetSlot::of(record, Choice::Slot(Slot::B), Slot::A).expect("target");
        transition::begin_repair(record, target).expect("begun")
    });
    write_boot(&bench, Slot::A, 0, &[0; 4096]);
    assert_eq!(
        run(&bench, "repair", &["a", "--from", &server.url("x")]).code,
        Some(0)
    );
    assert_eq!(run(&bench, "verify-slot", &["a"]).code, Some(0));
    assert_eq!(bench.record().slot(Slot::A).status, GOOD);
}

#[test]
fn booted_slots_other_releases_and_trials_are_not_repaired() {
    let bench = updated();
    let bundle = bench.file("1.1.0.bundle");
    let bundle = bundle.to_str().expect("path");
    let before = bench.bytes();
    for (slot, words) in [
        ("b", "slot B is the booted slot"),
        (
            "a",
            "slot A holds release 1.0.0: the bundle is release 1.1.0",
        ),
    ] {
        let finished = run(&bench, "repair", &[slot, "--from", bundle]);
        assert_eq!(
            (finished.code, finished.err.contains(words)),
            (Some(3), true),
            "{finished:?}"
        );
    }
    assert!(bench.bytes() == before, "a refusal changed the disk");
    let trial = Bench::new();
    trial.run(
        "apply",
        &[trial.file("1.1.0.bundle").to_str().expect("path")],
    );
    let finished = trial.run(
        "repair",
        &[
            "b",
            "--from",
            trial.file("1.1.0.bundle").to_str().expect("path"),
        ],
    );
    assert_eq!(finished.code, Some(3));
    assert!(
        finished
            .err
            .contains("slot B is not Good: apply the bundle to it"),
        "{finished:?}"
    );
}
