//! The trust floor: it rises at a commit, never above what the machine needs, except for
//! a revocation.

use bootctl::transition::{
    Refusal, TargetSlot, Trial, TrustEpochs, activate, commit, disarm, end_repair,
};
use record::gpt::Partitions;
use record::{
    Choice, Evidence, GOOD_BUDGET, Guid, Reason, Record, Release, Slot, SlotState, Status, Text64,
    rebuild,
};
use seal::{Accepted, ImageDigest, Statement};

const A: Choice = Choice::Slot(Slot::A);
const B: Choice = Choice::Slot(Slot::B);

fn release(rollback_index: u64) -> Release {
    Release {
        version: Text64::new("9.9.9").unwrap(),
        rollback_index,
        manifest_sha256: [rollback_index as u8; 32],
    }
}

fn good(index: u64, trust_epoch: u64) -> SlotState {
    SlotState {
        status: Status::Good {
            budget_left: GOOD_BUDGET,
        },
        reason: Reason::None,
        release: release(index),
        trust_epoch,
        ..SlotState::empty(Guid::ZERO, Guid::ZERO)
    }
}

/// A machine that runs release 1 in slot A, accepted by key epoch 1 as recovery is.
fn installed() -> Record {
    let empty = SlotState::empty(Guid::ZERO, Guid::ZERO);
    Record {
        floor: 1,
        trust_floor: 1,
        recovery_epoch: 1,
        slots: [good(1, 1), empty],
        ..Record::unused(&Partitions::default())
    }
}

fn updated(
    record: &Record,
    booted: Choice,
    index: u64,
    revoke: bool,
    epochs: TrustEpochs,
) -> Record {
    let target = TargetSlot::choose(record, booted).unwrap();
    let trial = Trial {
        release: release(index),
        revoke,
        epochs,
        tries: 3,
    };
    activate(&disarm(record, target), target, trial).unwrap()
}

fn epochs(target: u64, other: u64, recovery: u64) -> TrustEpochs {
    TrustEpochs {
        target,
        other: Some(other),
        recovery: Some(recovery),
    }
}

#[test]
fn the_floor_follows_the_fallback_and_recovery() {
    // Recovery is accepted by every epoch here, so the slots alone decide.
    let trial = updated(&installed(), A, 2, false, epochs(2, 1, 9));
    assert_eq!(trial.trust_floor, 1, "both are accepted during the trial");
    let second = commit(&trial, B).unwrap();
    assert_eq!(second.trust_floor, 1, "slot A is the fallback");
    let trial = updated(&second, B, 3, false, epochs(3, 2, 9));
    let third = commit(&trial, A).unwrap();
    assert_eq!((third.trust_floor, third.floor), (2, 2));
    // Recovery that only epoch 1 accepts holds the floor down.
    let trial = updated(&second, B, 3, false, epochs(3, 2, 1));
    assert_eq!(commit(&trial, A).unwrap().trust_floor, 1);
}

#[test]
fn a_revocation_raises_the_floor_at_once() {
    let trial = updated(&installed(), A, 2, true, epochs(2, 1, 1));
    assert_eq!(trial.trust_floor, 1);
    let committed = commit(&trial, B).unwrap();
    assert_eq!(committed.trust_floor, 2);
    let other = committed.slot(Slot::A);
    assert_eq!(
        (other.status, other.reason),
        (Status::Unbootable, Reason::Revoked)
    );
    assert_eq!(committed.default, Slot::B);
}

#[test]
fn a_release_of_withdrawn_keys_is_neither_activated_nor_repaired() {
    let record = Record {
        trust_floor: 2,
        ..installed()
    };
    let target = TargetSlot::choose(&record, A).unwrap();
    let trial = Trial {
        release: release(9),
        revoke: false,
        epochs: epochs(1, 2, 2),
        tries: 3,
    };
    let refused = activate(&disarm(&record, target), target, trial).unwrap_err();
    assert_eq!(refused, Refusal::Withdrawn { epoch: 1, floor: 2 });
    let words = "signed by keys of key epoch 1, this machine accepts 2 or higher";
    assert_eq!(refused.to_string(), words);
    let repairing = record.with_slot(Slot::B, good(1, 1).unbootable(Reason::Repairing));
    assert_eq!(end_repair(&repairing, target), Err(refused));
}

fn sealed(index: u64, epoch: u64, revoke: bool) -> Result<Accepted, Reason> {
    let digest = ImageDigest {
        len: 1,
        sha256: [index as u8; 32],
    };
    let statement = Statement {
        version: release(index).version,
        rollback_index: index,
        key_epoch: epoch,
        revoke,
        watchdog: false,
        manifest: digest,
        boot: digest,
        recovery: ImageDigest::NONE,
        root: None,
        links: ImageDigest::NONE,
        bundle_len: 1,
    };
    Ok(Accepted { statement, epoch })
}

fn rebuilt(sealed: [Result<Accepted, Reason>; 2]) -> Record {
    let evidence = Evidence {
        sealed,
        recovery_epoch: Some(1),
        seq_seen: 0,
    };
    rebuild(&Partitions::default(), &evidence).unwrap()
}

#[test]
fn the_loss_of_the_record_brings_back_no_revoked_release() {
    let record = rebuilt([sealed(1, 1, false), sealed(2, 2, true)]);
    assert_eq!((record.floor, record.trust_floor), (2, 2));
    let revoked = record.slot(Slot::A);
    assert_eq!(
        (revoked.status, revoked.reason),
        (Status::Unbootable, Reason::Revoked)
    );
    assert_eq!(record.default, Slot::B);
    assert!(record.slot(Slot::B).is_bootable());
    // Without a revocation both are started, and the floors are the lowest that the seals prove.
    let record = rebuilt([sealed(1, 1, false), sealed(2, 2, false)]);
    assert_eq!((record.floor, record.trust_floor), (1, 1));
    assert!(record.slot(Slot::A).is_good());
    // A revocation by the older one is spent.
    let record = rebuilt([sealed(1, 1, true), sealed(2, 2, false)]);
    assert_eq!(record.floor, 1);
    assert!(record.slot(Slot::A).is_good());
}

#[test]
fn a_sequence_number_that_nothing_could_follow_is_not_one() {
    let record = Record {
        seq: record::MAX_SEQ,
        ..installed()
    };
    assert_eq!(Record::decode(&record.encode(0), 0), Ok(record));
    let endless = Record {
        seq: u64::MAX,
        ..record
    };
    assert!(Record::decode(&endless.encode(0), 0).is_err());
    let evidence = Evidence {
        sealed: [sealed(1, 1, false), Err(Reason::Empty)],
        recovery_epoch: None,
        seq_seen: u64::MAX,
    };
    let rebuilt = rebuild(&Partitions::default(), &evidence).unwrap();
    assert!(rebuilt.seq < record::MAX_SEQ);
    let mut ring = vec![0; record::RING_LEN as usize];
    let mut event = record::event::Event::new(record::event::Kind::Launched, None);
    event.seq = u64::MAX;
    let at = record::event::Event::offset(event.seq) as usize;
    let block = event.encode();
    ring[at..at + block.len()].copy_from_slice(&block);
    assert_eq!(record::event::next_seq(&ring), 1);
}
