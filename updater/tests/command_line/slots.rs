//! `verify-slot` and `repair`: what is damaged is found and named, and mended at the cost of what
//! was damaged.

use crate::fixture::{Bench, Said, bundle, server_that};
use bootctl::device::BlockDevice as _;
use bootctl::transition::{self, TargetSlot};
use fixtures::hostile::{HostileServer, Step, honestly};
use record::{Choice, Reason, Slot, Status};
use std::sync::mpsc::channel;

const GOOD: Status = Status::Good {
    budget_left: record::GOOD_BUDGET,
};

/// Slot B runs 1.1.0 and has committed; A holds 1.0.0 as the fallback.
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

fn run(bench: &Bench, verb: &str, arguments: &[&str]) -> Said {
    Said::new(
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
fn a_slot_is_compared_by_what_it_keeps_itself() {
    let bench = updated();
    for slot in ["a", "b"] {
        let said = run(&bench, "verify-slot", &[slot, "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let json = said.json();
        assert_eq!(
            (&json["result"], &json["report"]["known_by"]),
            (&"whole".into(), &"slot".into())
        );
    }
    let before = bench.bytes();
    damage_root(&bench, Slot::A, 1_000_000);
    damage_root(&bench, Slot::A, 2_999_999);
    let said = run(&bench, "verify-slot", &["a", "--json"]);
    assert_eq!(said.code, Some(6), "{said:?}");
    let [boot, root] = [0, 1].map(|image| said.json()["report"]["images"][image].clone());
    assert_eq!(
        (&boot["partition"], &boot["whole"]),
        (&"boot-a".into(), &true.into())
    );
    assert_eq!(
        (&root["partition"], &root["whole"]),
        (&"root-a".into(), &false.into())
    );
    assert_eq!(root["damaged_chunks"], 2);
    let place = |damage: usize| {
        let offset = root["damaged"][damage]["offset"].as_u64().expect("offset");
        offset..offset + root["damaged"][damage]["len"].as_u64().expect("len")
    };
    assert!(
        place(0).contains(&1_000_000) && place(1).contains(&2_999_999),
        "{root}"
    );
    let said = run(&bench, "verify-slot", &["a"]);
    assert!(
        said.out
            .contains("root-a: root image is damaged: 2 chunks, "),
        "{said:?}"
    );
    assert!(
        said.out
            .ends_with("Slot A does not hold 1.0.0 as it was signed.\n"),
        "{said:?}"
    );
    assert_ne!(bench.bytes(), before, "the damage");
}

#[test]
fn without_a_list_of_chunks_the_images_are_compared_as_a_whole() {
    let bench = updated();
    // What is kept begins at the first multiple of 4096 behind the image.
    write_boot(&bench, Slot::A, 4096 + 102_400, &[0; 4096]);
    let said = run(&bench, "verify-slot", &["a", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let json = said.json();
    assert_eq!(json["report"]["known_by"], "nothing");
    let whole = |json: serde_json::Value| {
        [0, 1].map(|image| json["report"]["images"][image]["whole"].as_bool())
    };
    assert_eq!(whole(json), [Some(true), Some(true)]);
    let server = server();
    let said = run(
        &bench,
        "verify-slot",
        &["a", "--bundle", &server.url("1.0.0")],
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    let other = bench.file("1.1.0.bundle");
    let said = run(
        &bench,
        "verify-slot",
        &["a", "--bundle", other.to_str().expect("path")],
    );
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(
        said.err,
        "rayos-updater: slot A holds release 1.0.0: the bundle is release 1.1.0\n"
    );
}

#[test]
fn a_forged_or_missing_seal_is_told() {
    let bench = updated();
    write_boot(&bench, Slot::A, 300, &[1]);
    let said = run(&bench, "verify-slot", &["a"]);
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.err.starts_with("rayos-updater: boot-a: "), "{said:?}");
    let empty = Bench::new();
    let said = empty.run("verify-slot", &["b"]);
    assert_eq!(
        (said.code, said.err.contains("slot B holds no release")),
        (Some(6), true),
        "{said:?}"
    );
}

#[test]
fn a_repair_fetches_what_is_damaged_and_changes_nothing_else() {
    let bench = updated();
    let before = bench.bytes();
    damage_root(&bench, Slot::A, 1_000_000);
    let server = server();
    let from = ["a", "--from", &server.url("1.0.0"), "--json"];
    let said = run(&bench, "repair", &from);
    assert_eq!(said.code, Some(0), "{said:?}");
    let json = said.json();
    assert_eq!(json["result"], "mended");
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
    assert_eq!(record.default, Slot::B, "what boots next is as before");
    // The state partition has a longer story, and nothing else is different.
    let state = {
        let state = bench.disk().state().expect("state");
        state.start() as usize..(state.start() + state.len()) as usize
    };
    let mut after = bench.bytes();
    after[state.clone()].copy_from_slice(&before[state]);
    assert!(after == before);
    let said = run(&bench, "repair", &from);
    assert_eq!(
        (said.code, &said.json()["result"]),
        (Some(7), &"whole".into()),
        "{said:?}"
    );
}

#[test]
fn a_repair_that_was_cut_off_is_not_started_and_can_be_finished() {
    let bench = updated();
    damage_root(&bench, Slot::A, 1_000_000);
    let (sent, stalled) = channel();
    let broken = server_that(Step::Close, bundle("1.0.0", 1, 1), sent);
    let said = run(
        &bench,
        "repair",
        &["a", "--from", &broken.url("x"), "--retries", "0"],
    );
    stalled.recv().expect("the damaged chunk was asked for");
    assert_eq!(said.code, Some(8), "{said:?}");
    let cut = bench.record();
    assert_eq!(
        (cut.slot(Slot::A).status, cut.slot(Slot::A).reason),
        (Status::Unbootable, Reason::Repairing)
    );
    let server = server();
    let said = run(&bench, "repair", &["a", "--from", &server.url("x")]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        (bench.record().slot(Slot::A).status, bench.record().default),
        (GOOD, Slot::B)
    );
    assert_eq!(run(&bench, "verify-slot", &["a"]).code, Some(0));
    // Cut off after everything was written, with the header still missing.
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
fn what_must_not_be_repaired_is_not() {
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
        let said = run(&bench, "repair", &[slot, "--from", bundle]);
        assert_eq!(
            (said.code, said.err.contains(words)),
            (Some(3), true),
            "{said:?}"
        );
    }
    assert!(bench.bytes() == before, "a refusal leaves no trace");
    let trial = Bench::new();
    trial.run(
        "apply",
        &[trial.file("1.1.0.bundle").to_str().expect("path")],
    );
    let said = trial.run(
        "repair",
        &[
            "b",
            "--from",
            trial.file("1.1.0.bundle").to_str().expect("path"),
        ],
    );
    assert_eq!(said.code, Some(3));
    assert!(
        said.err
            .contains("slot B is not Good: apply the bundle to it"),
        "{said:?}"
    );
}
