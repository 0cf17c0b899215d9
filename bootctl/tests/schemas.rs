//! The JSON output of the program fits the schemas in `docs/schemas`.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EfiVars as _, Efivarfs, VarName, Variable};
use bootctl::entry::LoadOption;
use bootctl::log::EventLog;
use bootctl::status::MachineStatus;
use bootctl::store::RecordStore;
use bootctl::watch::Watch;
use fixtures::schema::misfits;
use record::event::{Event, Kind};
use record::{Choice, Handoff, Reason, Slot, Status, Text64, VENDOR, Why};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A disk with A Good and B on trial, and a folder of variables with a foreign entry, a damaged
/// one and ours.
fn machine(dir: &Path) -> Disk {
    let image = dir.join("disk.img");
    fixture::partitioned(&image);
    let disk = Disk::open(Arc::new(
        FileDevice::open(&image, Access::Write, SectorSize::Detect).unwrap(),
    ))
    .unwrap();
    let record = fixture::holding(
        fixture::unused(&disk),
        Slot::A,
        Status::Good { budget_left: 8 },
        "1.0.0",
        1,
    );
    let record = fixture::holding(
        record,
        Slot::B,
        Status::Pending { tries_left: 2 },
        "1.1.0",
        2,
    );
    RecordStore::open(&disk)
        .unwrap()
        .initialise(&record)
        .unwrap();
    std::fs::create_dir(dir.join("vars")).unwrap();
    let vars = Efivarfs::new(&dir.join("vars"));
    let set = |name: VarName, data: Vec<u8>| {
        let is_handoff = name.name == Handoff::VARIABLE;
        vars.set(
            &name,
            &Variable {
                attributes: if is_handoff { Handoff::ATTRIBUTES } else { 7 },
                data,
            },
        )
        .unwrap()
    };
    let esp = disk.partitions().esp.unwrap();
    set(
        VarName::global("Boot0000"),
        LoadOption::ours(Choice::Slot(Slot::A), &esp).encode(),
    );
    set(VarName::global("Boot0001"), vec![1]);
    set(VarName::global("BootOrder"), vec![1, 0, 0, 0]);
    set(VarName::global("SecureBoot"), vec![1]);
    let handoff = Handoff {
        verified_root: Some(seal::VerifiedRoot {
            len: 4096,
            root_hash: [0xab; 32],
        }),
        choice: Choice::Slot(Slot::B),
        why: Why::Trial,
        left: 2,
        seq: record.seq,
        disk_guid: record.disk_guid,
        boot_uuid: record.slot(Slot::B).boot_uuid,
        root_uuid: record.slot(Slot::B).root_uuid,
        state_uuid: disk.partitions().state.unwrap().uuid,
    };
    set(
        VarName {
            name: Handoff::VARIABLE.to_owned(),
            vendor: VENDOR,
        },
        handoff.encode().to_vec(),
    );
    disk
}

fn printed(dir: &Path, verb: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-bootctl"));
    command
        .args([verb, "--json", "--disk"])
        .arg(dir.join("disk.img"))
        .arg("--efivars")
        .arg(dir.join("vars"));
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

fn schema_of(verb: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../docs/schemas/rayos-bootctl.{verb}-1.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn fits(verb: &str, value: &Value) {
    assert_eq!(misfits(&schema_of(verb), value), [""; 0], "{value:#}");
}

#[test]
fn each_verb_prints_json_that_fits_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let disk = machine(dir.path());
    let verbs = ["status", "why", "log", "entries", "booted"];
    for verb in verbs {
        fits(verb, &printed(dir.path(), verb));
    }
    assert_eq!(printed(dir.path(), "why"), Value::Null);
    let status = printed(dir.path(), "status");
    assert_eq!(status["secure_boot"], "on");
    for name in ["slot A", "slot B", "recovery"] {
        let words = format!(
            "Secure Boot is on, and the boot image of {name} is not signed for it: the firmware will not start it"
        );
        assert!(
            status["warnings"]
                .as_array()
                .unwrap()
                .contains(&words.into()),
            "{status:#}"
        );
    }

    // Each kind of event, and a release that failed.
    let log = EventLog::open(&disk).unwrap();
    let words =
        schema_of("log")["properties"]["events"]["items"]["properties"]["kind"]["enum"].clone();
    let words = words.as_array().unwrap();
    for word in words {
        let kind = Kind::from_word(word.as_str().unwrap()).expect("a kind of event");
        let mut event = Event::new(kind, Some(Choice::Slot(Slot::B))).with_text("words");
        event.version = Text64::new("1.1.0").unwrap();
        event.reason = Reason::Returned;
        log.append(&event).unwrap();
    }
    let store = RecordStore::open(&disk).unwrap();
    let record = store.read().unwrap();
    store
        .write(&record.with_slot(
            Slot::B,
            record.slot(Slot::B).unbootable(Reason::TriesExhausted),
        ))
        .unwrap();
    for verb in verbs {
        fits(verb, &printed(dir.path(), verb));
    }
    assert_eq!(
        printed(dir.path(), "log")["events"]
            .as_array()
            .unwrap()
            .len(),
        words.len()
    );
    assert_eq!(printed(dir.path(), "status")["failure"]["slot"], "b");
}

#[test]
fn the_status_of_an_unknown_machine_and_of_a_trial_fits_its_schema() {
    let nothing = MachineStatus {
        warnings: vec!["the disk is gone".to_owned()],
        ..MachineStatus::default()
    };
    fits("status", &serde_json::to_value(nothing.json()).unwrap());
    let watch = Some(Watch {
        checks: 4,
        left: Duration::from_secs(250),
    });
    fits(
        "status",
        &serde_json::to_value(MachineStatus { watch, ..nothing }.json()).unwrap(),
    );
}

#[test]
fn a_schema_refuses_an_unknown_word() {
    let dir = tempfile::tempdir().unwrap();
    machine(dir.path());
    let mut status = printed(dir.path(), "status");
    status["slots"][0]["status"] = "excellent".into();
    let schema = schema_of("status");
    assert_eq!(
        misfits(&schema, &status).len(),
        1,
        "{:?}",
        misfits(&schema, &status)
    );
}
