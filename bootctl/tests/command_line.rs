//! `rayos-bootctl` on a disk image and a folder of variables, as an operator uses it.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EfiVars as _, Efivarfs, VarName, Variable};
use bootctl::log::EventLog;
use bootctl::store::RecordStore;
use record::event::{Event, Kind};
use record::{Choice, Reason, Record, Slot, Status};
use seal::Text64;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// A disk with A 1.0.0 Good and B 1.1.0 on trial, and an empty folder of variables.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(bench.vars()).unwrap();
        fixture::partitioned(&bench.image());
        let disk = bench.disk();
        let record = Record {
            floor: 1,
            ..fixture::unused(&disk)
        };
        let record = fixture::holding(record, Slot::A, Status::Good { budget_left: 8 }, "1.0.0", 1);
        let record = fixture::holding(
            record,
            Slot::B,
            Status::Pending { tries_left: 3 },
            "1.1.0",
            2,
        );
        RecordStore::open(&disk)
            .unwrap()
            .initialise(&record)
            .unwrap();
        bench
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    fn vars(&self) -> PathBuf {
        self.dir.path().join("efivars")
    }

    fn disk(&self) -> Disk {
        let device = FileDevice::open(&self.image(), Access::Write, SectorSize::Detect).unwrap();
        Disk::open(Arc::new(device)).unwrap()
    }

    fn record(&self) -> Record {
        RecordStore::open(&self.disk()).unwrap().read().unwrap()
    }

    fn change(&self, to: impl FnOnce(Record) -> Record) {
        let store = RecordStore::open(&self.disk()).unwrap();
        store.write(&to(store.read().unwrap())).unwrap();
    }

    fn note(&self, kind: Kind, version: &str, text: &str) {
        let mut event = Event::new(kind, Some(Choice::Slot(Slot::B))).with_text(text);
        event.version = Text64::new(version).unwrap();
        EventLog::open(&self.disk())
            .unwrap()
            .append(&event)
            .unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-bootctl"));
        command
            .args(arguments)
            .arg("--disk")
            .arg(self.image())
            .arg("--efivars")
            .arg(self.vars());
        said(&command.output().unwrap())
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn status_is_one_sentence_and_a_table() {
    let bench = Bench::new();
    let (code, out, err) = bench.run(&["status"]);
    assert_eq!(code, 0, "{err}");
    let expected = "\
not running; the next boot starts slot B 1.1.0, on trial

slot  status                version       rollback index  role
a     Good, budget 8        1.0.0         1               default
b     Pending, 3 tries left 1.1.0         2
floor 1, compatible rayos-x86_64, record 1
";
    assert_eq!(out, expected);
    assert!(err.contains("due: write Boot0000, RayOS A"), "{err}");
    let (_, json, _) = bench.run(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "rayos-bootctl.status/1");
    assert_eq!(
        (
            json["next"]["choice"].as_str(),
            json["next"]["why"].as_str()
        ),
        (Some("b"), Some("trial"))
    );
    assert_eq!(json["slots"][1]["left"], 3);
}

#[test]
fn why_explains_a_release_without_tries_left() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["why"]).0, 7);
    bench.note(Kind::Activated, "1.1.0", "");
    for _ in 0..3 {
        bench.note(Kind::Launched, "1.1.0", "");
        bench.note(Kind::Initramfs, "1.1.0", "");
    }
    bench.note(
        Kind::HealthFailed,
        "1.1.0",
        "check 10-net failed with exit code 1\nno route",
    );
    bench.change(|record| {
        record.with_slot(
            Slot::B,
            record.slot(Slot::B).unbootable(Reason::TriesExhausted),
        )
    });
    let (code, out, _) = bench.run(&["why"]);
    assert_eq!(code, 0);
    let first = "1.1.0 in slot B failed: started 3 times, failed its health checks, no tries left\n  | check 10-net failed with exit code 1\n  | no route\n";
    assert!(out.starts_with(first), "{out}");
    let (_, out, _) = bench.run(&["status"]);
    assert!(
        out.starts_with(
            "not running; the next boot starts slot A 1.0.0, the default; 1.1.0 in slot B failed"
        ),
        "{out}"
    );
    let (_, json, _) = bench.run(&["why", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["stage"].as_str(), json["launches"].as_u64()),
        (Some("health"), Some(3))
    );
}

#[test]
fn entries_are_repaired_kept_and_read_by_efibootmgr() {
    let bench = Bench::new();
    let vars = Efivarfs::new(&bench.vars());
    let foreign = [
        1_u32.to_le_bytes().to_vec(),
        vec![4, 0, b'O', 0, 0, 0, 0x7f, 0xff, 4, 0],
    ]
    .concat();
    let set = |name: &str, data: Vec<u8>| {
        vars.set(
            &VarName::global(name),
            &Variable {
                attributes: 7,
                data,
            },
        )
        .unwrap();
    };
    set("Boot0001", foreign.clone());
    set("BootOrder", vec![1, 0]);
    let (code, plan, _) = bench.run(&["repair", "--plan"]);
    assert_eq!(code, 0);
    let expected = "write Boot0000, RayOS A\nwrite Boot0002, RayOS B\nwrite Boot0003, RayOS Recovery\n\
                    write BootOrder: 0000 0002 0003 0001\n";
    assert_eq!(plan, expected);
    assert_eq!(vars.names().unwrap().len(), 2, "a plan changes nothing");
    assert_eq!(bench.run(&["repair", "--entries-only"]).0, 0);
    let (code, out, _) = bench.run(&["repair", "--entries-only"]);
    assert_eq!(
        (code, out.as_str()),
        (7, "nothing to do: the boot entries are correct\n")
    );
    assert_eq!(
        vars.get(&VarName::global("Boot0001"))
            .unwrap()
            .unwrap()
            .data,
        foreign
    );

    // A variable that is cut off stops neither the rest nor the report.
    let file = bench
        .vars()
        .join(format!("Boot0009-{}", bootctl::efivars::EFI_GLOBAL));
    std::fs::write(&file, [7, 0, 0]).unwrap();
    for verb in [
        ["repair", "--plan"],
        ["repair", "--entries-only"],
        ["entries", "--verbose"],
    ] {
        let (code, out, err) = bench.run(&verb);
        assert_eq!(code, 1, "{out}");
        assert!(err.contains("not all checked: Boot0009: "), "{err}");
        assert!(!out.contains("nothing to do"), "{out}");
    }
    let (_, _, err) = bench.run(&["status"]);
    assert!(err.contains("not all checked: Boot0009: "), "{err}");
    std::fs::remove_file(&file).unwrap();

    // libefivar reads variables from the folder in EFIVARFS_PATH.
    let path = format!("{}/", bench.vars().display());
    let output = Command::new("efibootmgr")
        .arg("-v")
        .env("EFIVARFS_PATH", path)
        .output();
    let (code, out, err) = said(&output.expect("efibootmgr runs"));
    assert_eq!(code, 0, "{err}");
    let esp = bench.disk().partitions().esp.unwrap();
    assert!(out.contains("BootOrder: 0000,0002,0003,0001"), "{out}");
    for (number, label, file) in [
        ("0000", "RayOS A", "GUARDA"),
        ("0002", "RayOS B", "GUARDB"),
        ("0003", "RayOS Recovery", "GUARDR"),
    ] {
        let line = format!(
            "Boot{number}* {label}\tHD(1,GPT,{},0x{:x},0x{:x})/File(\\EFI\\RAYOS\\{file}.EFI)",
            esp.uuid,
            esp.first_lba,
            esp.sectors()
        );
        assert!(out.contains(&line), "{line}\nnot in\n{out}");
    }
    let (code, out, _) = bench.run(&["entries"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("  1  Boot0000  a         RayOS A\n"),
        "{out}"
    );
}

#[test]
fn an_operator_can_choose_the_next_boot_but_not_leave_the_machine_without_a_slot() {
    let bench = Bench::new();
    let (code, out, _) = bench.run(&["boot-once", "recovery"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "not running; the next boot starts recovery, requested for one boot\n"
        )
    );
    assert_eq!(bench.record().one_shot, Some(Choice::Recovery));

    assert_eq!(bench.run(&["mark-bad", "b"]).0, 0);
    assert_eq!(bench.record().slot(Slot::B).reason, Reason::MarkedBad);
    let (code, _, said) = bench.run(&["mark-bad", "b"]);
    assert!(
        code == 7 && said.contains("nothing to do: already in this state"),
        "{code}: {said}"
    );
    let (code, _, err) = bench.run(&["mark-bad", "a"]);
    assert_eq!(
        (code, err.as_str()),
        (
            5,
            "rayos-bootctl: slot A is the last one that can be started\n"
        )
    );
    let (code, _, err) = bench.run(&["rollback"]);
    assert_eq!(
        (code, err.as_str()),
        (
            5,
            "rayos-bootctl: slot B cannot be started: it was marked bad\n"
        )
    );
    let (_, log, _) = bench.run(&["log"]);
    assert!(log.contains("marked-bad"), "{log}");
}

#[test]
fn an_operator_does_not_wait_for_an_update_that_holds_the_disk() {
    let bench = Bench::new();
    let held = FileDevice::open(&bench.image(), Access::Write, SectorSize::Detect).unwrap();
    for arguments in [
        &["boot-once", "recovery"][..],
        &["mark-bad", "b"],
        &["repair", "--entries-only"],
    ] {
        let (code, out, err) = bench.run(arguments);
        assert!(matches!(code, 0 | 7), "{arguments:?}: {code} {out} {err}");
    }
    drop(held);
    assert_eq!(bench.record().one_shot, Some(Choice::Recovery));
    assert_eq!(bench.record().slot(Slot::B).reason, Reason::MarkedBad);
}

#[test]
fn a_system_not_started_by_the_guard_cannot_commit() {
    let bench = Bench::new();
    for verb in [
        ["commit"].as_slice(),
        &["booted"],
        &["milestone", "userspace"],
        &["health"],
    ] {
        let (code, out, err) = bench.run(verb);
        assert_eq!((code, out.as_str()), (77, ""), "{verb:?}: {err}");
        assert_eq!(
            err,
            "rayos-bootctl: this system was not started by the boot guard: no variable RayosBoot of its making\n"
        );
    }
    let nothing = Command::new(env!("CARGO_BIN_EXE_rayos-bootctl"))
        .arg("no-such-verb")
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn completions_and_man_pages_are_written() {
    let bench = Bench::new();
    for (what, file) in [
        ("completions", "rayos-bootctl.bash"),
        ("man", "rayos-bootctl.1"),
    ] {
        let out = bench.dir.path().join(what);
        let (code, _, err) = bench.run(&["generate", what, "--output", out.to_str().unwrap()]);
        assert_eq!(code, 0, "{err}");
        assert!(Path::new(&out).join(file).exists(), "{what}");
    }
}
