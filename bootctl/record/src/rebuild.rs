//! A record made anew from evidence, when both copies are lost.

use crate::Guid;
use crate::gpt::Partitions;
use crate::record::{GOOD_BUDGET, Reason, Record, Release, Slot, SlotState, Status, TRIAL_TRIES};
use seal::{Statement, Text64};

/// How far the sequence number is set ahead of the highest one that any evidence speaks of, so that a copy
/// that was unreadable for a while can never win over the rebuilt record.
const SEQ_MARGIN: u64 = 1 << 16;

/// What remains when both copies of the record are lost.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The signed statement in each slot's boot partition, where it **verifies** and the boot image has the
    /// signed SHA-256; `None` otherwise.
    pub sealed: [Option<Statement>; 2],
    /// Highest record sequence number that an event in the ring speaks of; 0 for none.
    pub seq_seen: u64,
}

/// The record that evidence allows. *Pure.*
///
/// A seal is written last and zeroed first, so a verified one vouches that its slot was complete, and for
/// nothing more: not that the release ever worked. The release with the highest rollback index therefore gets a
/// counted trial, as after an update, and the other one stands behind it as Good. A single one gets a trial
/// with recovery behind it. A slot without a verified seal is never started. The floor becomes the lowest
/// index found. Lost for good are the install id and the compatible: both are zero in the rebuilt record.
#[must_use]
pub fn rebuild(partitions: &Partitions, evidence: &Evidence) -> Record {
    let uuid = |partition: Option<crate::gpt::Partition>| partition.map_or(Guid::ZERO, |found| found.uuid);
    let [sealed_a, sealed_b] = &evidence.sealed;
    let index = |statement: &Option<Statement>| statement.as_ref().map(|found| found.rollback_index);
    let newest = if index(sealed_b) > index(sealed_a) { Slot::B } else { Slot::A };
    let state = |slot: Slot, statement: &Option<Statement>, other: &Option<Statement>| {
        let empty = SlotState::empty(uuid(partitions.boot(slot)), uuid(partitions.root(slot)));
        let Some(statement) = statement else { return empty.unbootable(Reason::HeaderDamaged) };
        let release = Release {
            version: statement.version,
            rollback_index: statement.rollback_index,
            manifest_sha256: statement.manifest.sha256,
        };
        let trial = slot == newest || other.is_none();
        let (status, tries_granted) = if trial {
            (Status::Pending { tries_left: TRIAL_TRIES }, TRIAL_TRIES)
        } else {
            (Status::Good { budget_left: GOOD_BUDGET }, 0)
        };
        let revoke = trial && statement.revoke;
        SlotState { status, reason: Reason::None, tries_granted, revoke, release, ..empty }
    };
    let slots = [state(Slot::A, sealed_a, sealed_b), state(Slot::B, sealed_b, sealed_a)];
    let both = sealed_a.is_some() && sealed_b.is_some();
    Record {
        seq: evidence.seq_seen.saturating_add(SEQ_MARGIN),
        disk_guid: partitions.disk_guid,
        install_id: Guid::ZERO,
        default: if both { newest.other() } else { newest },
        one_shot: None,
        floor: [sealed_a, sealed_b].into_iter().filter_map(index).min().unwrap_or(0),
        recovery_uuid: uuid(partitions.recovery),
        compatible: Text64::EMPTY,
        slots,
    }
}
