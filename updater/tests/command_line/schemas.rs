//! The JSON output of the program matches `docs/schemas`.

use crate::fixture::{Bench, bundle, server_that};
use bootctl::device::BlockDevice as _;
use fixtures::hostile::Step;
use fixtures::schema::misfits;
use record::Slot;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::channel;

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/schemas")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("schema")
}

#[track_caller]
fn fits(schema: &Value, value: &Value) {
    assert_eq!(misfits(schema, value), [""; 0], "{value:#}");
}

#[test]
fn status() {
    let (bench, schema) = (Bench::new(), schema("rayos-updater.status-1.json"));
    fits(&schema, &bench.run("status", &["--json"]).json());
    bench.run(
        "apply",
        &[bench.file("1.1.0.bundle").to_str().expect("path")],
    );
    fits(&schema, &bench.run("status", &["--json"]).json());
    bench.change(|record| {
        let mut record = *record;
        record.slots[1].status = record::Status::Unbootable;
        record.slots[1].reason = record::Reason::TriesExhausted;
        record
    });
    let failed = bench.run("status", &["--json"]).json();
    fits(&schema, &failed);
    assert_eq!(failed["last_update"]["result"], "failed");
}

#[test]
fn apply_and_its_progress() {
    let (bench, result) = (Bench::new(), schema("rayos-updater.apply-1.json"));
    let path = bench.file("1.1.0.bundle");
    let path = path.to_str().expect("path");
    let mut results = BTreeSet::new();
    let mut apply = |arguments: &[&str]| {
        let finished = bench.run(
            "apply",
            &[
                arguments,
                &["--json", "--progress", "json", "--retries", "1"],
            ]
            .concat(),
        );
        let json = finished.json();
        fits(&result, &json);
        results.insert(json["result"].as_str().expect("result").to_owned());
        finished
    };
    let server = server_that(Step::Close, bundle("1.1.0", 2, 1), channel().0);
    let interrupted = apply(&[&server.url("x")]);
    assert_eq!(interrupted.json()["disarmed_slot"], "b");
    apply(&["missing"]);
    apply(&[path, "--plan"]);
    std::fs::write(bench.file("other"), bundle("1.0.1", 1, 1)).expect("bundle");
    apply(&[bench.file("other").to_str().expect("path"), "--if-newer"]);
    let finished = apply(&[path]);
    std::fs::write(bench.file("same"), bundle("1.0.0", 1, 1)).expect("bundle");
    apply(&[bench.file("same").to_str().expect("path")]);
    assert_eq!(
        results.into_iter().collect::<Vec<_>>(),
        ["activated", "failed", "not-newer", "planned", "up-to-date"]
    );

    let event = schema("rayos-updater.progress-1.json");
    let mut events = BTreeSet::new();
    for line in interrupted
        .err
        .lines()
        .chain(finished.err.lines())
        .filter(|line| line.starts_with('{'))
    {
        let line: Value = serde_json::from_str(line).expect("JSON");
        fits(&event, &line);
        events.insert(line["event"].as_str().expect("event").to_owned());
    }
    let seen: Vec<_> = events.into_iter().collect();
    assert_eq!(
        seen,
        [
            "activated",
            "disarmed",
            "planned",
            "progress",
            "release",
            "retry",
            // The disk has no boot guard whose keys could be compared.
            "warning"
        ]
    );
}

#[test]
fn check() {
    let (bench, schema) = (Bench::new(), schema("rayos-updater.check-1.json"));
    for (name, bytes, verdict) in [
        ("newer", bundle("1.1.0", 2, 1), "newer"),
        ("same", bundle("1.0.0", 1, 1), "same"),
        ("other", bundle("1.0.1", 1, 1), "other"),
        ("refused", bundle("0.9.0", 0, 1), "refused"),
        ("stranger", bundle("1.1.0", 2, 9), "failed-to-check"),
    ] {
        let path = bench.file(name);
        std::fs::write(&path, bytes).expect("bundle");
        let answer = bench
            .run("check", &[path.to_str().expect("path"), "--json"])
            .json();
        fits(&schema, &answer);
        assert_eq!(answer["verdict"], verdict);
    }
}

#[test]
fn verify_slot_and_repair() {
    let (bench, schema, result) = (
        Bench::new(),
        schema("rayos-updater.verify-slot-1.json"),
        schema("rayos-updater.apply-1.json"),
    );
    let path = bench.file("1.1.0.bundle");
    let path = path.to_str().expect("path");
    let verified = |slot: &str| {
        let json = bench.run("verify-slot", &[slot, "--json"]).json();
        fits(&schema, &json);
        json["result"].clone()
    };
    assert_eq!(
        (verified("a"), verified("b")),
        ("intact".into(), "failed".into())
    );
    bench.run("apply", &[path]);
    assert_eq!(verified("b"), "intact");
    let repaired = bench.run("repair", &["b", "--from", path, "--json"]).json();
    fits(&result, &repaired);
    assert_eq!(repaired["result"], "failed");
    // As if B had committed and was rolled back to A.
    bench.commit(Slot::B);
    bench.change(|record| record::Record {
        default: Slot::A,
        ..*record
    });
    let repaired = bench.run("repair", &["b", "--from", path, "--json"]).json();
    fits(&result, &repaired);
    assert_eq!(repaired["result"], "intact");
    bench
        .disk()
        .root(Slot::B)
        .expect("root")
        .write_at(12_345, &[0; 100])
        .expect("write");
    assert_eq!(verified("b"), "damaged");
    let repaired = bench.run("repair", &["b", "--from", path, "--json"]).json();
    fits(&result, &repaired);
    assert_eq!(repaired["result"], "repaired");
}
