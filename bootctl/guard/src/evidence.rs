//! A boot record made anew from what the slots themselves prove.

use crate::image::Refusal;
use record::gpt::Partitions;
use record::{Choice, Guid, Reason, Record, Release, Slot, SlotState, Status};
use seal::{Statement, Text64};

/// Launches that a slot gets by evidence alone.
pub const REBUILT_TRIES: u8 = 1;
/// How far the new sequence number lies above the last one that the event ring tells of, so that a lost copy
/// that becomes readable again does not count more than the new record.
const SEQ_GAP: u64 = 1024;

/// The record that follows from the seals of the two boot partitions, or `None` if neither is accepted.
/// *Pure.* `last_seq` is the highest sequence number of a record that the event ring tells of.
///
/// A seal is written last, after everything else of the slot was read back, so an accepted seal proves a
/// whole release; it does not prove that the release ever committed. Hence:
/// - the release with the highest rollback index (of two equal ones, slot A) is on trial, with one try;
/// - the other was running when that one was written, so it is the Good default to fall back to, with a
///   budget of one launch;
/// - a slot without an accepted seal is Unbootable for the reason that was found;
/// - the floor is the lowest rollback index among the accepted ones: never above the release to fall back to;
/// - `install_id` is zero and `compatible` empty, which tells `bootctl` to fill them in again.
#[must_use]
pub fn rebuild(
    partitions: &Partitions,
    seals: &[Result<Statement, Refusal>; 2],
    last_seq: u64,
) -> Option<Record> {
    let [seal_a, seal_b] = seals;
    let newest = match (seal_a, seal_b) {
        (Ok(a), Ok(b)) if b.rollback_index > a.rollback_index => Slot::B,
        (Ok(_), _) => Slot::A,
        (Err(_), Ok(_)) => Slot::B,
        (Err(_), Err(_)) => return None,
    };
    let both = seal_a.is_ok() && seal_b.is_ok();
    let state = |slot: Slot, seal: &Result<Statement, Refusal>| {
        let status = if slot == newest {
            Status::Pending { tries_left: REBUILT_TRIES }
        } else {
            Status::Good { budget_left: REBUILT_TRIES }
        };
        slot_state(partitions, slot, seal, status)
    };
    let floor = seals.iter().flatten().map(|statement| statement.rollback_index).min().unwrap_or(0);
    Some(Record {
        seq: last_seq.saturating_add(SEQ_GAP),
        disk_guid: partitions.disk_guid,
        install_id: Guid::ZERO,
        default: if both { newest.other() } else { newest },
        one_shot: None::<Choice>,
        floor,
        recovery_uuid: partitions.recovery.map_or(Guid::ZERO, |partition| partition.uuid),
        compatible: Text64::EMPTY,
        slots: [state(Slot::A, seal_a), state(Slot::B, seal_b)],
    })
}

fn slot_state(
    partitions: &Partitions,
    slot: Slot,
    seal: &Result<Statement, Refusal>,
    status: Status,
) -> SlotState {
    let uuid = |partition: Option<record::gpt::Partition>| partition.map_or(Guid::ZERO, |found| found.uuid);
    let empty = SlotState::empty(uuid(partitions.boot(slot)), uuid(partitions.root(slot)));
    match seal {
        Err(refusal) => empty.unbootable(refusal.reason()),
        Ok(statement) => SlotState {
            status,
            reason: Reason::None,
            tries_granted: REBUILT_TRIES,
            revoke: statement.revoke,
            release: Release {
                version: statement.version,
                rollback_index: statement.rollback_index,
                manifest_sha256: statement.manifest.sha256,
            },
            ..empty
        },
    }
}
