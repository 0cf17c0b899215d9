//! Assessment of a disk that contains another system.

use super::added::{added, layout};
use super::foreign_table::{ESP, ForeignTable, LEN, MIB};
use bootctl::device::{BlockDevice, MemDevice};
use fixtures::schema::misfits;
use installer::disk::choose::{Candidate, Target, candidates};
use installer::disk::disks::{self, sample};
use installer::disk::plan_report::PlanReport;
use installer::disk::safety::{DiskContent, DiskFindings, DiskRequest, inspect};
use installer::disk::table::ExistingTable;
use record::Guid;
use serde_json::json;
use std::sync::Arc;

/// Returns the assessment of a disk with the content of `device`.
fn candidate(device: MemDevice, beside: bool, erase: Option<&str>) -> Candidate {
    let device: Arc<dyn BlockDevice> = Arc::new(device);
    let disk = disks::Disk {
        size: LEN,
        serial: Some("S-1".to_owned()),
        ..sample()[0].clone()
    };
    let wanted = DiskRequest {
        layout: &layout(),
        recovery_key_at_hand: false,
        beside,
        media_disks: &[],
        erase,
    };
    candidates(vec![disk], &wanted, |_| {
        inspect(&device).map_err(|error| error.to_string())
    })
    .remove(0)
}

#[test]
fn a_disk_with_another_system_is_accepted_only_beside_it() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4), (2, [9; 16], 7, 12)]);
    let beside = candidate(table.disk(), true, None);
    assert_eq!(
        (beside.problems, beside.content),
        (vec![], Some(DiskContent::Other("it has a GPT")))
    );
    assert_eq!(beside.plan.expect("plan").kept.len(), 2);
    let whole = candidate(table.disk(), false, None);
    assert_eq!(
        whole.problems,
        ["it is not empty (it has a GPT): erase it with --erase S-1"]
    );
    assert!(whole.plan.expect("plan").kept.is_empty());
    let blank = candidate(MemDevice::new(LEN as usize, 512), true, None);
    assert!(
        blank.problems[0].starts_with("it has no GPT to install beside"),
        "{:?}",
        blank.problems
    );
}

#[test]
fn an_incomplete_installation_is_replaced_only_if_confirmed() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4)]);
    let (device, _) = added(table.disk(), &table, &layout()).expect("added");
    let bytes = device.bytes();
    let device = || MemDevice::from_bytes(bytes.clone(), 512);
    // A table without a boot record may belong to an installation.
    let lost = candidate(device(), true, None);
    let words =
        "RayOS with a lost boot record is installed on it: boot it, or replace it with --erase S-1";
    assert_eq!(lost.problems, [words]);
    assert_eq!(candidate(device(), true, Some("S-1")).problems, [""; 0]);
    // Without a partition for the record, too.
    let existing = ExistingTable::read(&device())
        .expect("read")
        .expect("table");
    let state: Vec<_> = existing
        .ours()
        .into_iter()
        .filter(|it| it.kind == record::STATE_TYPE)
        .collect();
    let remains = device();
    existing
        .patched(&state, &[])
        .commit(&remains)
        .expect("commit");
    let found = candidate(remains, true, None);
    assert_eq!(found.content, Some(DiskContent::Remains));
    assert!(
        found.problems[0].contains("it has partitions of RayOS"),
        "{:?}",
        found.problems
    );
}

#[test]
fn the_reason_names_the_other_system_that_would_be_erased() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4)]);
    let (device, _) = added(table.disk(), &table, &layout()).expect("added");
    let found = || ExistingTable::read(&device).expect("read");
    let problems = |beside, table: Result<ExistingTable, _>| {
        let content = DiskContent::Installed {
            version: "1.0.0".to_owned(),
        };
        let disk = disks::Disk {
            size: LEN,
            serial: Some("S-1".to_owned()),
            ..sample()[0].clone()
        };
        let wanted = DiskRequest {
            layout: &layout(),
            recovery_key_at_hand: false,
            beside,
            media_disks: &[],
            erase: None,
        };
        candidates(vec![disk], &wanted, |_| {
            Ok(DiskFindings {
                bitlocker: Vec::new(),
                content: content.clone(),
                table: table.clone(),
            })
        })
        .remove(0)
        .problems
    };
    let alone = "RayOS 1.0.0 is installed on it: boot it, or replace it with --erase S-1";
    assert_eq!(problems(true, found()), [alone], "the other system stays");
    assert_eq!(
        problems(false, DiskFindings::blank().table),
        [alone],
        "there is no other"
    );
    let both = "RayOS 1.0.0 is installed on it, beside another system: boot it, erase both with \
                --erase S-1, or replace only RayOS with --beside --erase S-1";
    assert_eq!(problems(false, found()), [both]);
}

#[test]
fn the_plan_lists_new_and_kept_partitions() {
    let table = ForeignTable::of(512, &[(1, ESP, 1, 4), (3, [9; 16], 7, 12)]);
    let target = Target::Disk("S-1".to_owned());
    let report = PlanReport::new(vec![candidate(table.disk(), true, None)], &target, false);
    let json = serde_json::to_value(&report).expect("json");
    let schema = include_str!("../../../docs/schemas/rayos-installer.plan-1.json");
    let schema = serde_json::from_str(schema).expect("schema");
    assert_eq!(misfits(&schema, &json), [""; 0]);
    let (plan, disk) = (&json["plan"], Guid([0x33; 16]).to_string());
    assert_eq!(plan["disk_guid"], disk);
    let esp = &plan["partitions"][0];
    assert_eq!(
        (&esp["purpose"], &esp["number"], &esp["offset"]),
        (&json!("esp"), &json!(2), &json!(12 * MIB))
    );
    let kept = plan["kept"].as_array().expect("stays");
    assert_eq!(kept.len(), 2);
    let theirs = (
        &kept[1]["number"],
        &kept[1]["offset"],
        &kept[1]["size"],
        &kept[1]["name"],
    );
    assert_eq!(
        theirs,
        (&json!(3), &json!(7 * MIB), &json!(5 * MIB), &json!("t"))
    );
    let whole = PlanReport::new(
        vec![candidate(table.disk(), false, Some("S-1"))],
        &target,
        false,
    );
    assert_eq!(
        serde_json::to_value(&whole).expect("json")["plan"].get("kept"),
        None
    );
}
