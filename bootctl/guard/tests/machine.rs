//! The guard on a model of a machine: disks that lose unflushed writes, tear writes, fail and
//! corrupt silently, and images that start, return or are refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../examples/lab/disk.rs"]
#[allow(dead_code, reason = "shared with the lab")]
mod disk;
mod model;

use disk::{BOOT, Disk, RECOVERY, STATE};
use guard::Outcome;
use model::{Machine, does, start_all};
use proptest::prelude::*;
use record::event::{Kind, events};
use record::{
    COPY_OFFSETS, Choice, Copies, Decision, Pair, PartitionName, REBUILT_TRIES, RECORD_LEN,
    RING_LEN, RING_OFFSET, Reason, Record, Release, Request, Slot, Status, Tried, decide,
};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);
const R: Choice = Choice::Recovery;
const GOOD: Status = Status::Good { budget_left: 8 };
const TRIAL: Status = Status::Pending { tries_left: 3 };

fn releases() -> [Release; 2] {
    [("1.0.0", 1, b"image a"), ("1.1.0", 2, b"image b")].map(|(version, index, image)| {
        disk::release(version, index, image, &disk::key())
            .unwrap()
            .1
    })
}

/// Release 1.0.0 in A, 1.1.0 in B, recovery 1.0.0.
fn installed(sector: usize, a: Status, b: Status) -> Disk {
    let mut made = Disk::new(sector, 1, 1);
    for (part, version, index, image) in [
        (BOOT[0], "1.0.0", 1, b"image a"),
        (BOOT[1], "1.1.0", 2, b"image b"),
        (RECOVERY, "1.0.0", 1, b"image r"),
    ] {
        let (seal, _) = disk::release(version, index, image, &disk::key()).unwrap();
        made.write(part, 0, &disk::sealed(&seal, image));
    }
    let [release_a, release_b] = releases();
    let record = made.record(Slot::A, (a, release_a), (b, release_b));
    made.put_record(&record);
    made
}

fn record_of(disk: &Disk) -> Option<Record> {
    let copies = COPY_OFFSETS.map(|at| disk.read(STATE, at as usize, RECORD_LEN).try_into().ok());
    match Pair::read(Copies(copies)) {
        Pair::Valid { record, .. } => Some(record),
        _ => None,
    }
}

fn events_on(disk: &Disk) -> Vec<(Kind, Option<Choice>, Reason)> {
    let mut all: Vec<_> =
        events(disk.read(STATE, RING_OFFSET as usize, RING_LEN as usize)).collect();
    all.sort_by_key(|event| event.seq);
    all.iter()
        .map(|event| (event.kind, event.subject, event.reason))
        .collect()
}

#[test]
fn the_try_is_on_the_disk_before_the_image_is_loaded() {
    for sector in [512, 4096] {
        let mut machine = Machine::with(installed(sector, GOOD, TRIAL));
        assert_eq!(machine.run(Request::Plain), Outcome::TookOver(B));
        let [(choice, durable)] = machine.started.as_slice() else {
            panic!("{:?}", machine.lines)
        };
        assert_eq!(*choice, B);
        assert_eq!(
            record_of(durable).unwrap().slot(Slot::B).status,
            Status::Pending { tries_left: 2 }
        );
        assert_eq!(
            machine.lines,
            ["starting slot B, release 1.1.0 (trial, 2 tries left)"]
        );
        let told = machine.handoffs[0];
        assert_eq!(
            (told.left, told.seq, told.boot_uuid),
            (2, 2, durable.uuid(BOOT[1]))
        );
        assert_eq!(
            (told.root_uuid, told.state_uuid),
            (durable.uuid(5), durable.uuid(STATE))
        );
    }
}

#[test]
fn an_unchanged_record_is_not_written_and_only_events_are() {
    let mut machine = Machine::with(installed(512, Status::Unbootable, Status::Unbootable));
    let before = machine.own();
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(R));
    let after = machine.own();
    assert_eq!(record_of(&before), record_of(&after));
    assert_eq!(events_on(&after), [(Kind::Launched, Some(R), Reason::None)]);
}

#[test]
fn each_candidate_is_tried_once_and_then_the_guard_gives_up() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL)).behaving(does::return_);
    assert_eq!(machine.run(Request::Plain), Outcome::GaveUp);
    let choices: Vec<Choice> = machine.started.iter().map(|(choice, _)| *choice).collect();
    assert_eq!(choices, [B, A, R]);
    let record = record_of(&machine.own()).unwrap();
    assert_eq!(record.slot(Slot::A).status, Status::Good { budget_left: 7 });
    assert_eq!(
        record.slot(Slot::B).status,
        Status::Pending { tries_left: 2 }
    );
}

#[test]
fn requested_recovery_costs_no_try() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    let before = record_of(&machine.own());
    assert_eq!(machine.run(Request::Recovery), Outcome::TookOver(R));
    assert_eq!(record_of(&machine.own()), before);
}

#[test]
fn a_trial_that_cannot_be_counted_is_not_started() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    machine.disks[0].fail_writes = true;
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
    assert!(
        machine.lines[0].starts_with("passed over slot B: its try cannot be counted"),
        "{:?}",
        machine.lines
    );
}

#[test]
fn a_write_that_is_not_read_back_counts_as_failed() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    machine.disks[0].drop_writes = true;
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
}

#[test]
fn without_keys_the_guard_starts_and_writes_nothing() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    let before = machine.own().bytes;
    let mut empty = [0; seal::TRUST_BLOCK_LEN];
    empty[..16].copy_from_slice(&seal::TRUST_BLOCK_MAGIC);
    assert_eq!(
        guard::run(&mut machine, &empty, Request::Plain),
        Outcome::GaveUp
    );
    assert_eq!(
        machine.lines,
        ["no trusted keys are built into this program"]
    );
    assert!(machine.own().bytes == before);
}

#[test]
fn a_slot_with_other_partitions_than_the_record_names_is_missing() {
    for part in [BOOT[1], 5] {
        let mut disk = installed(512, GOOD, TRIAL);
        let mut record = record_of(&disk).unwrap();
        let mut state = *record.slot(Slot::B);
        let uuid = if part == 5 {
            &mut state.root_uuid
        } else {
            &mut state.boot_uuid
        };
        uuid.0[0] ^= 1;
        record = record.with_slot(Slot::B, state);
        disk.put_record(&record);
        let mut machine = Machine::with(disk);
        assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
        assert_eq!(
            machine.lines[0],
            "passed over slot B: its partition is missing"
        );
    }
}

#[test]
fn an_unreadable_image_costs_only_the_try() {
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    machine.disks[0].unreadable = Some(BOOT[1]);
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
    let record = record_of(&machine.own()).unwrap();
    assert_eq!(
        record.slot(Slot::B).status,
        Status::Pending { tries_left: 2 }
    );
    assert_eq!(
        events_on(&machine.own())[0],
        (Kind::PassedOver, Some(B), Reason::ReadFailed)
    );
}

#[test]
fn an_image_longer_than_its_partition_is_not_read() {
    let mut disk = installed(512, GOOD, TRIAL);
    let (seal, release) = disk::release("1.1.0", 2, &vec![1; 1 << 20], &disk::key()).unwrap();
    disk.write(BOOT[1], 0, seal.as_bytes());
    let record = disk.record(Slot::A, (GOOD, releases()[0]), (TRIAL, release));
    disk.put_record(&record);
    let mut machine = Machine::with(disk);
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
    let words = "(signed length 1048576, maximum 1044480)";
    assert!(machine.lines[0].ends_with(words), "{:?}", machine.lines);
}

#[test]
fn a_record_of_another_disk_is_not_used() {
    let mut disk = installed(512, GOOD, GOOD);
    let mut record = record_of(&disk).unwrap();
    record.disk_guid.0[0] ^= 1;
    record.seq = 500;
    disk.put_record(&record);
    let mut machine = Machine::with(disk);
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(B));
    assert!(
        machine.lines[0].starts_with("boot record: disk "),
        "{:?}",
        machine.lines
    );
    let after = machine.own();
    let record = record_of(&after).unwrap();
    assert_eq!(record.disk_guid, after.guid);
    assert!(record.seq > 500, "{}", record.seq);
}

#[test]
fn a_lost_record_is_rebuilt_from_seals() {
    let lost = |damage: &[usize]| {
        let mut disk = installed(512, GOOD, GOOD);
        for part in damage {
            disk.write(*part, 0, &[0; 4096]);
        }
        for copy in COPY_OFFSETS {
            disk.write(STATE, copy as usize, &[0; RECORD_LEN]);
        }
        let mut machine = Machine::with(disk);
        assert!(matches!(machine.run(Request::Plain), Outcome::TookOver(_)));
        (machine.started[0].0, record_of(&machine.own()))
    };
    let (started, record) = lost(&[]);
    let record = record.unwrap();
    assert_eq!((started, record.default, record.floor), (B, Slot::A, 1));
    assert_eq!(
        record.slot(Slot::B).status,
        Status::Pending { tries_left: 0 }
    );
    assert_eq!(
        record.slot(Slot::A).status,
        Status::Good {
            budget_left: REBUILT_TRIES
        }
    );
    let (started, record) = lost(&[BOOT[1]]);
    let record = record.unwrap();
    assert_eq!((started, record.default, record.floor), (A, Slot::A, 1));
    assert_eq!(
        record.slot(Slot::A).status,
        Status::Pending { tries_left: 0 }
    );
    assert_eq!(record.slot(Slot::B).reason, Reason::HeaderDamaged);
    assert_eq!(lost(&BOOT), (R, None), "no seal, no record");
}

#[test]
fn a_rebuilt_record_has_a_higher_number_than_the_lost_one() {
    let mut disk = installed(512, GOOD, TRIAL);
    let mut record = record_of(&disk).unwrap();
    record.seq = 77;
    disk.put_record(&record);
    let mut machine = Machine::with(disk);
    machine.run(Request::Plain);
    let mut disk = machine.own();
    let old = record_of(&disk).unwrap();
    for copy in COPY_OFFSETS {
        disk.write(STATE, copy as usize, &[0; RECORD_LEN]);
    }
    let mut machine = Machine::with(disk);
    machine.run(Request::Plain);
    assert!(record_of(&machine.own()).unwrap().seq > old.seq);
}

#[test]
fn a_signature_refused_by_a_foreign_guard_does_not_count_against_a_slot() {
    let mut disk = installed(512, GOOD, TRIAL);
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let (seal, _) = disk::release("1.1.0", 2, b"image b", &stranger).unwrap();
    disk.write(BOOT[1], 0, &disk::sealed(&seal, b"image b"));
    let mut own = Machine::with(disk.clone());
    assert_eq!(own.run(Request::Plain), Outcome::TookOver(A));
    assert_eq!(
        record_of(&own.own()).unwrap().slot(Slot::B).reason,
        Reason::SignatureRefused
    );
    let before = record_of(&disk).unwrap().slot(Slot::B).status;
    for start in 0..20 {
        let mut foreign = Machine::with(disk);
        foreign.own = None;
        assert_eq!(foreign.run(Request::Plain), Outcome::TookOver(A), "{start}");
        disk = foreign.own();
        let mut record = record_of(&disk).unwrap();
        assert_eq!(record.slot(Slot::B).status, before, "{start}");
        // Slot A commits each time.
        record.slots[0].status = GOOD;
        disk.put_record(&record);
    }
}

#[test]
fn one_more_partition_with_a_type_of_ours_changes_nothing() {
    for name in PartitionName::ALL {
        let disk = installed(512, GOOD, TRIAL);
        let mut machine = Machine::with(model::with_entry(disk, name.type_guid()));
        assert_eq!(machine.run(Request::Plain), Outcome::TookOver(B), "{name}");
    }
}

#[test]
fn among_other_disks_one_with_its_own_record_is_first() {
    let mut lost = installed(512, GOOD, TRIAL);
    lost.write(STATE, 0, &[0; 1 << 20]);
    let mut machine = Machine::with(lost);
    machine
        .disks
        .push(model::SimDisk::new(installed(4096, TRIAL, GOOD)));
    machine.own = None;
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(A));
    assert_eq!(machine.handoffs[0].left, 2);
}

#[test]
fn the_guards_own_disk_wins_over_media_and_media_over_other_disks() {
    let (seal, _) = disk::release("2.0.0", 5, b"stick", &disk::key()).unwrap();
    let file = disk::sealed(&seal, b"stick");
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    machine.file = Some(file.clone());
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(B));
    let mut machine = Machine::with(installed(512, GOOD, TRIAL));
    machine.file = Some(file);
    machine.own = None;
    let before = machine.own().bytes;
    assert_eq!(machine.run(Request::Plain), Outcome::TookOver(R));
    assert_eq!(
        machine.lines,
        ["starting recovery, release 2.0.0 (requested)"]
    );
    assert!(machine.own().bytes == before);
    machine.file = None;
    machine.disks.clear();
    assert_eq!(machine.run(Request::Plain), Outcome::GaveUp);
}

/// Cuts the power at each operation, before it and within it, and boots until the trial has no
/// tries left. It is never started more often than it has tries, and A or recovery is always
/// reached.
#[test]
fn no_cut_gives_a_trial_more_starts_than_tries() {
    let operations = {
        let mut machine = Machine::with(installed(512, GOOD, TRIAL));
        machine.run(Request::Plain);
        machine.disks[0].operations
    };
    assert!(operations >= 4, "record, flush, event, flush: {operations}");
    for boot in 0..3 {
        for cut in 0..operations {
            for torn in [0, 512, 4095] {
                let mut disk = installed(512, GOOD, TRIAL);
                let mut trials = 0;
                for number in 0..6 {
                    let mut machine = Machine::with(disk);
                    machine.disks[0].cut = (number == boot).then_some((cut, torn));
                    let outcome = machine.run(Request::Plain);
                    let dead = machine.disks[0].dead();
                    trials += machine
                        .started
                        .iter()
                        .filter(|(choice, _)| *choice == B)
                        .count();
                    if !dead {
                        assert!(matches!(outcome, Outcome::TookOver(_)));
                    }
                    disk = machine.durable();
                    assert!(
                        record_of(&disk).is_some(),
                        "boot {boot}, cut {cut}, torn at {torn}"
                    );
                }
                assert!(
                    trials <= 3,
                    "boot {boot}, cut {cut}, torn at {torn}: {trials} starts"
                );
                assert_eq!(
                    record_of(&disk).unwrap().slot(Slot::B).reason,
                    Reason::TriesExhausted
                );
            }
        }
    }
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Unbootable),
        (0..4_u8).prop_map(|tries_left| Status::Pending { tries_left }),
        (0..4_u8).prop_map(|budget_left| Status::Good { budget_left }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The guard starts the candidates of `decide` in order, each at most once, and nothing else.
    #[test]
    fn starts_follow_the_decision(
        a in any_status(), b in any_status(), b_is_default: bool, shot in 0..4_u8, recovery: bool,
    ) {
        let disk = installed(512, a, b);
        let mut record = record_of(&disk).unwrap();
        record.default = if b_is_default { Slot::B } else { Slot::A };
        record.one_shot = Choice::from_code(shot);
        let request = if recovery { Request::Recovery } else { Request::Plain };
        let mut disk = disk;
        disk.put_record(&record);
        let mut machine = Machine::with(disk).behaving(does::return_);
        prop_assert_eq!(machine.run(request), Outcome::GaveUp);
        let (mut tried, mut expected) = (Tried::default(), Vec::new());
        while let Decision::Launch { choice, record: next, .. } = decide(&record, request, tried) {
            expected.push(choice);
            (record, tried) = (next, tried.with(choice));
        }
        let choices: Vec<Choice> = machine.started.iter().map(|(choice, _)| *choice).collect();
        prop_assert_eq!(choices, expected);
    }

    /// With any damage of the disk: no panic, each candidate at most once, only signed bytes.
    #[test]
    fn damage_never_starts_anything_unsigned(
        sector in prop_oneof![Just(512_usize), Just(4096)],
        hits in prop::collection::vec((0..8_usize, 0..9000_usize, any::<u8>(), 1..600_usize), 0..8),
    ) {
        let mut disk = installed(sector, GOOD, TRIAL);
        for (part, offset, byte, len) in hits {
            let at = match part {
                7 => offset,
                1 if byte & 1 == 1 => disk.at(1) + COPY_OFFSETS[1] as usize + offset % 3000,
                part => disk.at(part) + offset,
            };
            disk.bytes[at..at + len].fill(byte);
        }
        let mut machine = Machine::with(disk).behaving(does::return_);
        prop_assert_eq!(machine.run(Request::Plain), Outcome::GaveUp);
        for choice in [A, B, R] {
            prop_assert!(machine.started.iter().filter(|(started, _)| *started == choice).count() <= 1);
        }
        for image in &machine.images {
            prop_assert!([b"image a", b"image b", b"image r"].iter().any(|signed| image == *signed));
        }
    }

    /// Any bytes in both copies of the record.
    #[test]
    fn any_record_bytes(copies in prop::collection::vec(any::<[u8; 32]>(), 2), valid_crc: bool) {
        let mut disk = installed(512, GOOD, TRIAL);
        let record = record_of(&disk).unwrap();
        for (copy, (bytes, at)) in copies.iter().zip(COPY_OFFSETS).enumerate() {
            let mut block = record.encode(copy as u32);
            for (place, byte) in bytes.iter().enumerate() {
                block[8 + (place * 37) % 568] = *byte;
            }
            if valid_crc {
                let crc = crc32fast::hash(&block[..4092]);
                block[4092..].copy_from_slice(&crc.to_le_bytes());
            }
            disk.write(STATE, at as usize, &block);
        }
        let mut machine = Machine::with(disk).behaving(start_all);
        machine.run(Request::Plain);
        prop_assert!(machine.started.len() <= 1);
    }
}
