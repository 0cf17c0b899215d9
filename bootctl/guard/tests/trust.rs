//! The guard follows trust links in the state partition, and refuses withdrawn keys.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../examples/lab/disk.rs"]
#[allow(dead_code, reason = "shared with the lab")]
mod disk;
#[allow(dead_code, reason = "shared with other tests")]
mod model;

use disk::{BOOT, Disk, RECOVERY, STATE};
use guard::Outcome;
use model::{Machine, does};
use record::{
    COPY_OFFSETS, Choice, Copies, Pair, RECORD_LEN, Reason, Record, Request, Slot, Status,
};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);
const GOOD: Status = Status::Good { budget_left: 8 };
const TRIAL: Status = Status::Pending { tries_left: 3 };

fn record_of(disk: &Disk) -> Option<Record> {
    let copies = COPY_OFFSETS.map(|at| disk.read(STATE, at as usize, RECORD_LEN).try_into().ok());
    match Pair::read(Copies(copies)) {
        Pair::Valid { record, .. } => Some(record),
        _ => None,
    }
}

/// Trust of this key epoch in the key with this seed.
fn trust_of(epoch: u64, seed: u8) -> seal::Trust {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let roles = [seal::Role::Release, seal::Role::Recovery];
    let key = seal::TrustedKey::new(key.verifying_key().as_bytes(), &roles).unwrap();
    seal::Trust::new(epoch, [1, 0, 0], &[key]).unwrap()
}

/// The link from the guard's own keys to the key with seed 77, which signs release 1.1.0 in slot B.
fn rotated(trust_floor: u64) -> Disk {
    use ed25519_dalek::Signer as _;
    let new = ed25519_dalek::SigningKey::from_bytes(&[77; 32]);
    let mut disk = Disk::new(512, 1, 1);
    let (old_seal, release_a) = disk::release("1.0.0", 1, b"image a", &disk::key()).unwrap();
    disk.write(BOOT[0], 0, &disk::sealed(&old_seal, b"image a"));
    let (seal, _) = disk::release("1.0.0", 1, b"image r", &disk::key()).unwrap();
    disk.write(RECOVERY, 0, &disk::sealed(&seal, b"image r"));
    let (seal, release) = disk::release("1.1.0", 2, b"image b", &new).unwrap();
    disk.write(BOOT[1], 0, &disk::sealed(&seal, b"image b"));
    let own = disk::trust().unwrap();
    let mut link = seal::Link::new(&own, &trust_of(own.epoch() + 1, 77));
    for key in [&disk::key(), &new] {
        let signature = key.sign(&link.to_be_signed()).to_bytes();
        let id = seal::KeyId::of(key.verifying_key().as_bytes());
        link.add_signature(id, &signature).unwrap();
    }
    for offset in record::LINKS_OFFSETS {
        disk.write(STATE, offset as usize, link.as_bytes());
    }
    let record = disk.record(Slot::A, (GOOD, release_a), (TRIAL, release));
    disk.put_record(&Record {
        trust_floor,
        ..record
    });
    disk
}

#[test]
fn the_links_in_the_state_partition_lead_to_new_keys() {
    let first_copy = record::LINKS_OFFSETS[0] as usize;
    let second_copy = record::LINKS_OFFSETS[1] as usize;
    for damaged in [&[][..], &[first_copy], &[second_copy]] {
        let mut disk = rotated(0);
        for offset in damaged {
            disk.write(STATE, offset + 100, &[0xff; 8]);
        }
        let mut machine = Machine::with(disk);
        assert_eq!(
            machine.run(Request::Plain),
            Outcome::TookOver(B),
            "{:?}",
            machine.lines
        );
    }
    let mut disk = rotated(0);
    for offset in [first_copy, second_copy] {
        disk.write(STATE, offset + 100, &[0xff; 8]);
    }
    // Without links the new keys are unknown, and the fallback starts.
    let mut machine = Machine::with(disk);
    assert_eq!(
        machine.run(Request::Plain),
        Outcome::TookOver(A),
        "{:?}",
        machine.lines
    );
}

#[test]
fn what_withdrawn_keys_signed_is_refused_for_ever() {
    let mut machine = Machine::with(rotated(2)).behaving(does::return_);
    machine.run(Request::Plain);
    let record = record_of(&machine.own()).unwrap();
    let old = record.slot(Slot::A);
    assert_eq!(
        (old.status, old.reason),
        (Status::Unbootable, Reason::Withdrawn)
    );
    let words = "passed over recovery: the keys that signed it are withdrawn";
    let said = machine.lines.iter().any(|line| line.starts_with(words));
    assert!(said, "{:?}", machine.lines);
    assert!(record.slot(Slot::B).is_bootable());
}
