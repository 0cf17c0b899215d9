//! With any record, variables and slots the guard starts only verified images that the record
//! names, each at most once in a run and at most as often as it has tries, and it never panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../examples/lab/disk.rs"]
#[allow(dead_code, reason = "shared with the lab")]
mod disk;
#[allow(dead_code, reason = "shared with the other tests")]
mod model;

use disk::{BOOT, Disk, RECOVERY, STATE};
use guard::{Outcome, parse_options};
use model::{Machine, does};
use proptest::prelude::*;
use record::{
    COPY_OFFSETS, Choice, Guid, REBUILT_TRIES, RECORD_LEN, Reason, Record, Release, Slot,
    SlotState, Status,
};

/// Number of boots in a row without a commit.
const BOOTS: usize = 6;

/// Content of a boot partition.
#[derive(Clone, Debug)]
enum Held {
    /// A complete and signed release.
    Whole(u8),
    /// A release signed by an unknown key.
    Stranger(u8),
    /// A release with this byte of its image flipped, from its end.
    TornImage(u8, usize),
    /// A release with this byte of its seal flipped.
    TornSeal(u8, usize),
    /// Any bytes.
    Bytes(Vec<u8>),
}

fn image(release: u8) -> Vec<u8> {
    format!("image of release {release}").into_bytes()
}

fn release(number: u8) -> Release {
    let version = format!("{number}.0.0");
    disk::release(&version, u64::from(number), &image(number), &disk::key())
        .unwrap()
        .1
}

fn bytes(held: &Held) -> Vec<u8> {
    let sealed = |number: u8, key: &ed25519_dalek::SigningKey| {
        let (seal, _) = disk::release(
            &format!("{number}.0.0"),
            u64::from(number),
            &image(number),
            key,
        )
        .unwrap();
        disk::sealed(&seal, &image(number))
    };
    match held {
        Held::Whole(number) => sealed(*number, &disk::key()),
        Held::Stranger(number) => sealed(*number, &ed25519_dalek::SigningKey::from_bytes(&[8; 32])),
        Held::TornImage(number, place) => {
            let mut bytes = sealed(*number, &disk::key());
            let at = bytes.len() - 1 - place % image(*number).len();
            bytes[at] ^= 0x10;
            bytes
        }
        Held::TornSeal(number, place) => {
            let mut bytes = sealed(*number, &disk::key());
            // The seal is zero behind statement and signatures; a change there must be refused,
            // too.
            bytes[place % 4096] ^= 0x10;
            bytes
        }
        Held::Bytes(bytes) => bytes.clone(),
    }
}

fn any_held() -> impl Strategy<Value = Held> {
    prop_oneof![
        4 => (1..4_u8).prop_map(Held::Whole),
        1 => (1..4_u8).prop_map(Held::Stranger),
        1 => (1..4_u8, any::<usize>()).prop_map(|(number, place)| Held::TornImage(number, place)),
        1 => (1..4_u8, any::<usize>()).prop_map(|(number, place)| Held::TornSeal(number, place)),
        1 => prop::collection::vec(any::<u8>(), 0..5000).prop_map(Held::Bytes),
    ]
}

/// A slot in the record: status, release, and whether it names the existing partitions.
fn any_state() -> impl Strategy<Value = (Status, u8, bool)> {
    let status = prop_oneof![
        Just(Status::Unbootable),
        (0..4_u8).prop_map(|tries_left| Status::Pending { tries_left }),
        (0..4_u8).prop_map(|budget_left| Status::Good { budget_left }),
    ];
    (status, 1..4_u8, prop::bool::weighted(0.9))
}

/// Content of a copy of the record.
#[derive(Clone, Debug)]
enum Copy {
    Whole,
    Bytes(Vec<u8>),
    /// The record with changed bytes and a valid checksum.
    Forged(Vec<(usize, u8)>),
}

fn any_copy() -> impl Strategy<Value = Copy> {
    prop_oneof![
        4 => Just(Copy::Whole),
        1 => prop::collection::vec(any::<u8>(), RECORD_LEN).prop_map(Copy::Bytes),
        1 => prop::collection::vec((0..580_usize, any::<u8>()), 1..8).prop_map(Copy::Forged),
    ]
}

fn put(disk: &mut Disk, record: &Record, copies: &[Copy]) {
    for (copy, (what, at)) in copies.iter().zip(COPY_OFFSETS).enumerate() {
        let mut block = record.encode(copy as u32);
        match what {
            Copy::Whole => {}
            Copy::Bytes(bytes) => block.copy_from_slice(bytes),
            Copy::Forged(changes) => {
                for (place, byte) in changes {
                    block[*place] = *byte;
                }
                let crc = crc32fast::hash(&block[..4092]);
                block[4092..].copy_from_slice(&crc.to_le_bytes());
            }
        }
        disk.write(STATE, at as usize, &block);
    }
}

fn left(status: Status) -> usize {
    match status {
        Status::Unbootable => 0,
        Status::Pending { tries_left: left } | Status::Good { budget_left: left } => {
            usize::from(left)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn only_verified_images_are_started_and_each_at_most_once(
        held in [any_held(), any_held(), any_held()],
        states in [any_state(), any_state()],
        copies in [any_copy(), any_copy()],
        floor in 0..4_u64, b_is_default: bool, shot in 0..4_u8, sector in prop_oneof![Just(512_usize), Just(4096)],
        options in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            any::<u8>().prop_map(|code| [record::ENTRY_TAG.0.as_slice(), &[code]].concat()),
        ],
    ) {
        let mut disk = Disk::new(sector, 1, 1);
        for (part, held) in [BOOT[0], BOOT[1], RECOVERY].into_iter().zip(&held) {
            disk.write(part, 0, &bytes(held));
        }
        let slots = [Slot::A, Slot::B].map(|slot| {
            let (status, number, named) = states[slot as usize];
            let state = disk.slot(slot, status, release(number));
            if named { state } else { SlotState { boot_uuid: Guid([3; 16]), reason: Reason::None, ..state } }
        });
        let default = if b_is_default { Slot::B } else { Slot::A };
        let made = disk.record(default, (Status::Unbootable, release(1)), (Status::Unbootable, release(1)));
        let record = Record { floor, one_shot: Choice::from_code(shot), slots, ..made };
        put(&mut disk, &record, &copies);
        let plain = copies.iter().all(|copy| matches!(copy, Copy::Whole));

        let mut starts = [0_usize; 2];
        for _ in 0..BOOTS {
            let mut machine = Machine::with(disk).behaving(does::return_);
            prop_assert_eq!(machine.run(parse_options(&options)), Outcome::GaveUp);
            for (place, (choice, _)) in machine.started.iter().enumerate() {
                let again = machine.started[..place].iter().any(|(before, _)| before == choice);
                prop_assert!(!again, "{choice:?} was started twice in a run");
                let part = match choice { Choice::Slot(slot) => *slot as usize, Choice::Recovery => 2 };
                let Held::Whole(number) = &held[part] else {
                    return Err(TestCaseError::fail(format!("{choice:?} was started, which holds {:?}", held[part])));
                };
                prop_assert_eq!(&machine.images[place], &image(*number));
                if let Choice::Slot(slot) = choice {
                    starts[part] += 1;
                    let state = record.slot(*slot);
                    // If the record is intact, the started release is the one that it names.
                    prop_assert!(!plain || state.release == release(*number));
                    prop_assert!(!plain || u64::from(*number) >= floor);
                    prop_assert!(!plain || state.boot_uuid == machine.own().uuid(BOOT[part]));
                }
            }
            disk = machine.own();
        }
        for (slot, starts) in [Slot::A, Slot::B].into_iter().zip(starts) {
            let granted = left(record.slot(slot).status);
            prop_assert!(!plain || starts <= granted, "slot {slot} was started {starts} times, of {granted}");
        }
        // Without a valid copy, the evidence grants the tries of a rebuilt record.
        if copies.iter().all(|copy| matches!(copy, Copy::Bytes(_))) {
            prop_assert!(starts.iter().all(|starts| *starts <= usize::from(REBUILT_TRIES)), "{starts:?}");
        }
    }
}
