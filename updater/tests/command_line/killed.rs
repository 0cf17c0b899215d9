//! `kill -9` at any moment: the same command continues, and neither fetches nor writes correct
//! chunks again. The progress lines of the program tell when to kill it.

use crate::fixture::{Bench, bundle};
use fixtures::hostile::{Asked, HostileServer, Step, cut, honestly};
use record::{Slot, Status};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// Bytes of the payload that the server sends in each run before it stalls: at least two batches of
/// 256 KiB.
const GIVEN: usize = 700_000;

/// Progress of a run that was killed.
#[derive(Debug, Default)]
struct Killed {
    /// Bytes in place, by its plan.
    in_place: u64,
    /// Bytes written, by its last progress line.
    written: u64,
    /// It was ended by the signal.
    by_signal: bool,
}

/// Starts `apply source`, and kills it at the first event for which `now` is true.
fn kill_when(bench: &Bench, source: &str, now: impl Fn(&Value) -> bool) -> Killed {
    let mut child = bench
        .command("apply")
        .args([source, "--progress", "none", "--progress-fd", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rayos-updater");
    let mut killed = Killed::default();
    let mut is_killed = false;
    for line in BufReader::new(child.stderr.take().expect("stderr")).lines() {
        let line = line.expect("line");
        // The last lines of a run that ended by itself are not JSON.
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let number = |name: &str| event[name].as_u64().expect("number");
        match event["event"].as_str() {
            Some("planned") => killed.in_place = number("in_place_bytes"),
            Some("progress") if event["phase"] == "write" => killed.written = number("done"),
            _ => {}
        }
        if !is_killed && now(&event) {
            child.kill().expect("kill");
            is_killed = true;
        }
    }
    assert!(is_killed, "no such event: {killed:?}");
    killed.by_signal = child.wait().expect("end").code().is_none();
    killed
}

fn is_progress(event: &Value, phase: &str) -> bool {
    event["event"] == "progress" && event["phase"] == phase
}

/// Asserts that slot A is unchanged, and that slot B is Unbootable or intact. Returns whether it is
/// intact.
fn is_safe(bench: &Bench, slot_a: &[Vec<u8>; 2]) -> bool {
    let record = bench.record();
    assert!(
        record.slot(Slot::A).is_good() && record.default == Slot::A,
        "{record:?}"
    );
    assert!(bench.slot(Slot::A) == *slot_a, "slot A");
    match record.slot(Slot::B).status {
        Status::Unbootable => false,
        Status::Pending { .. } => {
            assert_eq!(bench.run("verify-slot", &["b"]).code, Some(0));
            true
        }
        Status::Good { .. } => panic!("it was never committed: {record:?}"),
    }
}

#[test]
fn chunks_written_before_a_kill_are_neither_fetched_nor_written_again() {
    let bench = Bench::new();
    let slot_a = bench.slot(Slot::A);
    let file = bundle("1.1.0", 2, 1);
    let len = file.len() as u64;
    // Sends the head and the hints at the end, and of the payload only a part.
    let script = move |asked: &Asked| match asked.range {
        Some((from, to)) if from > 0 && to != Some(file.len() as u64) => {
            cut(&file, asked, GIVEN, Step::Stall)
        }
        _ => honestly(&file, asked),
    };
    let server = HostileServer::start(script).expect("server");
    let mut in_place = 0;
    for round in 0..4 {
        let killed = kill_when(&bench, &server.url("x"), |event| {
            is_progress(event, "write")
                && event["done"].as_u64().is_some_and(|done| done >= 300_000)
        });
        assert!(killed.by_signal, "the server stalls");
        assert!(
            killed.in_place >= in_place,
            "round {round}: {killed:?}, and {in_place} were in place"
        );
        in_place = killed.in_place + killed.written;
        assert!(!is_safe(&bench, &slot_a));
    }
    assert!(in_place > 1_200_000, "{in_place}");
    let finished = bench.run(
        "apply",
        &[bench.file("1.1.0.bundle").to_str().expect("path"), "--json"],
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let report = finished.json()["report"].clone();
    let number = |name: &str| report[name].as_u64().expect("number");
    assert!(
        number("reused_bytes") >= in_place,
        "{report}, and {in_place} were in place"
    );
    assert_eq!(
        number("written_bytes"),
        number("image_bytes") - number("reused_bytes")
    );
    // These images do not compress: the bytes that were not fetched were in place.
    assert!(number("fetched_bytes") <= len - in_place, "{report}");
    assert!(is_safe(&bench, &slot_a));
}

#[test]
fn the_same_command_continues_after_a_kill_in_any_phase() {
    for name in [
        "release",
        "scan",
        "planned",
        "verify",
        "disarmed",
        "write",
        "read-back",
    ] {
        let bench = Bench::new();
        let slot_a = bench.slot(Slot::A);
        let path = bench.file("1.1.0.bundle");
        let path = path.to_str().expect("path");
        // A run that is killed late may end by itself.
        kill_when(&bench, path, |event| {
            event["event"] == name || is_progress(event, name)
        });
        is_safe(&bench, &slot_a);
        let finished = bench.run("apply", &[path]);
        assert_eq!(finished.code, Some(0), "killed at {name}: {finished:?}");
        assert!(is_safe(&bench, &slot_a), "killed at {name}");
    }
}
