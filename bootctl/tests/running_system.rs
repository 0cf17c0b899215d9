//! What a running system reports about itself and earlier boots: the sentence of a trial, and a
//! panic of the release that ran before.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::collect::collect;
use bootctl::collect::launched_before;
use bootctl::device::{Access, MemDevice};
use bootctl::disk::Disk;
use bootctl::efivars::MemVars;
use bootctl::failure_report;
use bootctl::log::EventLog;
use bootctl::machine::Machine;
use bootctl::status::MachineStatus;
use bootctl::transition;
use bootctl::watch::Watch;
use record::event::{Event, Kind};
use record::{Choice, Handoff, Reason, Record, Slot, Status as SlotStatus, Text64, Why};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);

fn disk() -> Disk {
    Disk::open(Arc::new(MemDevice::from_bytes(fixture::image(), 512))).unwrap()
}

/// B 1.4.2 runs on trial, with this many tries left; A is 1.4.1, Good.
fn on_trial(tries_left: u8, watch: Option<Watch>) -> MachineStatus {
    let disk = disk();
    let record = fixture::unused(&disk);
    let record = fixture::holding(
        record,
        Slot::A,
        SlotStatus::Good { budget_left: 8 },
        "1.4.1",
        1,
    );
    let record = fixture::holding(
        record,
        Slot::B,
        SlotStatus::Pending { tries_left },
        "1.4.2",
        2,
    );
    let handoff = Handoff {
        verified_root: None,
        choice: B,
        why: Why::Trial,
        left: tries_left,
        seq: record.seq,
        disk_guid: record.disk_guid,
        boot_uuid: record.slot(Slot::B).boot_uuid,
        root_uuid: record.slot(Slot::B).root_uuid,
        state_uuid: disk.partitions().state.unwrap().uuid,
    };
    MachineStatus {
        handoff: Some(handoff),
        record: Some(record),
        watch,
        ..MachineStatus::default()
    }
}

#[test]
fn the_sentence_of_a_trial_says_when_it_commits_and_what_else_happens() {
    let watch = |seconds| {
        Some(Watch {
            checks: 4,
            left: Duration::from_secs(seconds),
        })
    };
    for (tries_left, watch, sentence) in [
        (
            0,
            watch(250),
            "running B 1.4.2, trial 3 of 3, commits when 4 checks pass, else returns to A 1.4.1 in 4m10s",
        ),
        (
            1,
            watch(59),
            "running B 1.4.2, trial 2 of 3, commits when 4 checks pass, else starts again in 59s; after trial 3 it \
             returns to A 1.4.1",
        ),
        (
            0,
            None,
            "running B 1.4.2, trial 3 of 3, commits when its health checks pass, else returns to A 1.4.1",
        ),
        (
            0,
            Some(Watch {
                checks: 1,
                left: Duration::from_secs(7265),
            }),
            "running B 1.4.2, trial 3 of 3, commits when 1 check passes, else returns to A 1.4.1 in 2h1m",
        ),
    ] {
        let said = on_trial(tries_left, watch).sentence();
        assert_eq!(said.split("; the next boot").next(), Some(sentence));
    }
    let json = serde_json::to_value(on_trial(0, watch(250)).json()).unwrap();
    assert_eq!(
        (&json["health"]["checks"], &json["health"]["seconds_left"]),
        (&4.into(), &250.into())
    );
}

#[test]
fn after_a_rollback_the_sentence_says_what_runs_and_what_is_next() {
    let mut status = on_trial(0, None);
    let record: Record = status.record.unwrap();
    status.record = Some(transition::rollback(&record, B).unwrap());
    let said = status.sentence();
    assert!(said.starts_with("running B 1.4.2, "), "{said}");
    let next = "; the next boot starts slot A 1.4.1, the default";
    assert!(said.ends_with(next), "{said}");
}

#[test]
fn without_a_slot_to_return_to_it_is_recovery() {
    let mut status = on_trial(0, None);
    let record: Record = status.record.unwrap();
    status.record = Some(record.with_slot(
        Slot::A,
        record.slot(Slot::A).unbootable(Reason::ImageDamaged),
    ));
    assert!(
        status.sentence().contains("else returns to recovery"),
        "{}",
        status.sentence()
    );
}

/// Appends an event of a release, with a time.
fn append(log: &EventLog, kind: Kind, subject: Choice, version: &str, time: u64) {
    let mut event = Event::new(kind, Some(subject));
    event.version = Text64::new(version).unwrap();
    event.time = time;
    log.append(&event).unwrap();
}

/// Writes a file as efi-pstore shows it, with its time.
fn dump(dir: &Path, time: u64, text: &str) {
    let path = dir.join(format!("dmesg-efi-{time}01001"));
    fs::write(&path, text).unwrap();
    let modified = std::time::UNIX_EPOCH + Duration::from_secs(time);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
}

const CPU_LINE: &str = "[    1.0] CPU: 0 PID: 1 Comm: init Not tainted 6.12.1-ours #1";
const OUR_PANIC: &str = "Panic#1 Part1\n<0>[    1.0] Kernel panic - not syncing: no root\n\
                         <4>[    1.0] CPU: 0 PID: 1 Comm: init Not tainted 6.12.1-ours #1\n";

/// The versions of our kernels.
fn ours() -> [String; 2] {
    ["6.1.0", "6.12.1-ours"].map(str::to_owned)
}

#[test]
fn a_panic_of_another_system_stays() {
    let disk = disk();
    let log = EventLog::open(&disk).unwrap();
    let pstore = tempfile::tempdir().unwrap();
    dump(pstore.path(), 310, &OUR_PANIC.replace("-ours", "-theirs"));
    dump(pstore.path(), 320, "Panic#1 Part1\nno version\n");
    dump(pstore.path(), 330, OUR_PANIC);
    assert_eq!(collect(&log, pstore.path(), &ours()).unwrap(), 1);
    assert_eq!(fs::read_dir(pstore.path()).unwrap().count(), 2);
    assert_eq!(log.events().unwrap().len(), 1);
}

#[test]
fn a_panic_becomes_the_last_output_of_the_release_that_ran_before() {
    let disk = disk();
    let log = EventLog::open(&disk).unwrap();
    append(&log, Kind::Launched, A, "1.4.1", 100);
    append(&log, Kind::Activated, B, "1.4.2", 150);
    for time in [200, 300] {
        append(&log, Kind::Launched, B, "1.4.2", time);
    }
    // It returned to the guard, so the panic is not its own.
    append(&log, Kind::Launched, B, "1.4.2", 400);
    append(&log, Kind::PassedOver, B, "1.4.2", 400);
    append(&log, Kind::Launched, A, "1.4.1", 401);
    let pstore = tempfile::tempdir().unwrap();
    dump(pstore.path(), 310, OUR_PANIC);
    fs::write(
        pstore.path().join("dmesg-efi-1"),
        "Oops#1 Part1\nit continued\n",
    )
    .unwrap();

    assert_eq!(collect(&log, pstore.path(), &ours()).unwrap(), 1);
    let events = log.events().unwrap();
    let panic = events.last().unwrap();
    assert_eq!(
        (panic.kind, panic.subject, panic.version.as_str()),
        (Kind::Panic, Some(B), "1.4.2")
    );
    let left: Vec<_> = fs::read_dir(pstore.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        ["dmesg-efi-1"],
        "what is in the ring is taken out of pstore, and nothing else"
    );

    let record = fixture::holding(
        fixture::unused(&disk),
        Slot::B,
        SlotStatus::Unbootable,
        "1.4.2",
        2,
    );
    let record = record.with_slot(
        Slot::B,
        record.slot(Slot::B).unbootable(Reason::TriesExhausted),
    );
    let failure = failure_report::failure(&record, &events, Slot::B).unwrap();
    let text = format!("[    1.0] Kernel panic - not syncing: no root\n{CPU_LINE}");
    assert_eq!(failure.last_output.as_deref(), Some(text.as_str()));

    // A power cut between ring and pstore: the same panic is not appended twice.
    dump(pstore.path(), 310, OUR_PANIC);
    assert_eq!(collect(&log, pstore.path(), &ours()).unwrap(), 1);
    assert_eq!(log.events().unwrap().len(), events.len());
    assert_eq!(collect(&log, pstore.path(), &ours()).unwrap(), 0);
}

#[test]
fn the_time_of_a_panic_selects_the_launch_that_it_ended() {
    let disk = disk();
    let log = EventLog::open(&disk).unwrap();
    for (choice, time) in [(A, 100), (B, 200), (Choice::Recovery, 300)] {
        append(&log, Kind::Launched, choice, "1", time);
    }
    let events = log.events().unwrap();
    let subject = |time| launched_before(&events, time).unwrap().subject;
    // 250 and 0: the last launch before the present one; 150: that one was not started yet; 50: no
    // launch fits, so it is the last one.
    assert_eq!(
        [250, 0, 150, 50].map(subject),
        [Some(B), Some(B), Some(A), Some(B)]
    );
    assert_eq!(
        launched_before(&events[..1], 100),
        None,
        "the present one has not panicked"
    );
}

#[test]
fn only_a_record_without_a_compatible_receives_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    fixture::partitioned(&path);
    let machine = Machine::open(&path, Box::new(MemVars::new()), Access::Write).unwrap();
    let nameless = Record {
        compatible: Text64::EMPTY,
        ..fixture::unused(&machine.disk)
    };
    machine.store.initialise(&nameless).unwrap();
    let name = |text| Text64::new(text).unwrap();
    assert!(
        !machine.identify(Text64::EMPTY).unwrap(),
        "nothing is no name"
    );
    assert!(machine.identify(name("rayos-x86_64")).unwrap());
    assert!(!machine.identify(name("toaster")).unwrap());
    assert_eq!(
        machine.store.read().unwrap().compatible.as_str(),
        "rayos-x86_64"
    );
}
