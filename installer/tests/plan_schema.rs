//! The JSON of `rayos-installer plan` matches its schema in `docs/schemas`.

use bootctl::device::{BlockDevice, MemDevice};
use fixtures::schema::misfits;
use installer::disk::choose::{Target, candidates};
use installer::disk::disks::{Disk, DiskPart, Use, sample};
use installer::disk::layout::{Layout, Size};
use installer::disk::plan_report::PlanReport;
use installer::disk::safety::{DiskContent, DiskFindings, DiskRequest, inspect};
use installer::disk::table::Table;
use record::Guid;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;

#[track_caller]
fn assert_fits(value: &Value) {
    let schema = include_str!("../../docs/schemas/rayos-installer.plan-1.json");
    let schema = serde_json::from_str(schema).expect("schema");
    assert_eq!(misfits(&schema, value), [""; 0], "{value:#}");
}

/// Runs the program; returns its JSON.
fn printed(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_rayos-installer"))
        .args(arguments)
        .output()
        .expect("program");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn report(findings: Option<&DiskFindings>, beside: bool) -> Value {
    let layout = Layout {
        root: Size(1 << 20),
        esp: Size(2 << 20),
        boot: Size(1 << 20),
        recovery: Size(1 << 20),
        data: Some(Size(1 << 20)),
    };
    let disk = Disk {
        size: 64 << 20,
        children: vec![DiskPart {
            name: "nvme0n1p1".to_owned(),
            size: 1 << 20,
            partlabel: None,
            uses: vec![Use::Mounted("/mnt".to_owned()), Use::Swap],
        }],
        uses: vec![Use::HeldBy("md0".to_owned())],
        ..sample()[0].clone()
    };
    let request = DiskRequest {
        layout: &layout,
        beside,
        recovery_key_at_hand: false,
        media_disks: &[],
        erase: None,
    };
    let found = candidates(vec![disk], &request, |_| {
        findings.cloned().ok_or("input/output error".to_owned())
    });
    let report = PlanReport::new(found, &Target::OnlyBlankDisk, false);
    serde_json::to_value(&report).expect("JSON")
}

#[test]
fn the_program_prints_what_the_schema_describes() {
    let sample = printed(&[]);
    assert_fits(&sample);
    assert_eq!(sample["sample"], true);
    assert_eq!(sample["target"], "/dev/nvme0n1");
    assert_eq!(sample["plan"]["partitions"][1]["purpose"], "rayos-state");
    let beside = printed(&["plan", "--beside"]);
    assert_fits(&beside);
    assert_eq!(beside["target"], Value::Null);
    let local = printed(&["plan", "--enumerate-local-disks"]);
    assert_fits(&local);
    assert_eq!(local["sample"], false);
}

#[test]
fn every_content_of_a_disk_is_in_the_schema() {
    let version = "1.0.0".to_owned();
    for (content, kind) in [
        (DiskContent::Blank, "blank"),
        (DiskContent::Installed { version }, "installed"),
        (DiskContent::Unfinished, "unfinished"),
        (DiskContent::UnfinishedBeside, "unfinished-beside"),
        (DiskContent::Remains, "remains"),
        (DiskContent::Other("it has a GPT"), "other"),
    ] {
        let findings = DiskFindings {
            content,
            ..DiskFindings::blank()
        };
        let value = report(Some(&findings), false);
        assert_fits(&value);
        assert_eq!(value["blockdevices"][0]["content"]["kind"], kind);
    }
    let unreadable = report(None, false);
    assert_fits(&unreadable);
    assert_eq!(unreadable["blockdevices"][0]["content"], Value::Null);
}

#[test]
fn the_uses_of_a_disk_are_in_the_schema() {
    let device = MemDevice::new(64 << 20, 512);
    let layout = Layout {
        root: Size(1 << 20),
        esp: Size(2 << 20),
        boot: Size(1 << 20),
        recovery: Size(1 << 20),
        data: None,
    };
    let planned = layout.plan(device.len(), 512, Guid([3; 16])).expect("plan");
    let table = Table::build(&planned).expect("table");
    table.commit(&device).expect("commit");
    let device: Arc<dyn BlockDevice> = Arc::new(device);
    let value = report(Some(&inspect(&device).expect("read")), true);
    assert_fits(&value);
    let disk = &value["blockdevices"][0];
    assert_eq!(disk["uses"][0]["kind"], "held-by");
    assert_eq!(disk["uses"][0]["detail"], "md0");
    assert_eq!(disk["children"][0]["uses"][1]["kind"], "swap");
    let problems = disk["problems"].to_string();
    assert!(
        problems.contains("nvme0n1p1 is mounted on /mnt"),
        "{problems}"
    );
}

/// Returns output and error output of the program, and its exit code.
fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_rayos-installer"))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("program");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

#[test]
fn the_plan_is_a_table_and_a_drawing_for_people() {
    let (text, markers, code) = run(&["plan", "--text"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("After the installation (# RayOS, . free):\n+--+"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let markers: Vec<&str> = markers.lines().collect();
    let expected = [
        "STARTED",
        "SAMPLE_MODE",
        "PLAN_GENERATED",
        "TEXT_PRINTED",
        "COMPLETE",
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|it| format!("RAYOS_INSTALLER:{it}"))
        .collect();
    assert_eq!(markers, expected);
    let hash = printed(&["plan"])["hash"]
        .as_str()
        .expect("hash")
        .to_owned();
    assert!(text.contains(&hash));
}

#[test]
fn apply_writes_nothing_without_a_confirmation_or_with_another_hash() {
    let dir = tempfile::tempdir().expect("directory");
    let answers = dir.path().join("install.toml");
    std::fs::write(&answers, "version = 1\n[target]\ndisk = \"no-such-disk\"\n").expect("file");
    let answers = answers.to_str().expect("path");
    let (_, error, code) = run(&["apply", "--answers", answers]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("not confirmed"), "{error}");
    let hash = "00".repeat(32);
    let (_, error, code) = run(&["apply", "--answers", answers, "--yes", "--plan-hash", &hash]);
    assert_eq!(code, Some(4), "{error}");
    assert!(
        error.contains(&hash) && !error.contains("WRITE_STARTED"),
        "{error}"
    );
}
