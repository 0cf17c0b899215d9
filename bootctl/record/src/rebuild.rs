//! A record made anew from evidence, when both copies are lost.

use crate::Guid;
use crate::gpt::{Partition, Partitions};
use crate::record::{Reason, Record, Release, Slot, SlotState, Status};
use seal::{Statement, Text64};

/// Launches that a slot gets by evidence alone.
pub const REBUILT_TRIES: u8 = 1;
/// How far the sequence number is set ahead of the highest one that any evidence speaks of, so that
/// a copy that was unreadable for a while can never win over the rebuilt record.
const SEQ_MARGIN: u64 = 1 << 16;

/// What remains when both copies of the record are lost.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The signed statement in each slot's boot partition, where it **verifies** and the boot image
    /// has the signed SHA-256; else the reason why the slot is not to be started.
    pub sealed: [Result<Statement, Reason>; 2],
    /// Highest record sequence number that an event in the ring speaks of; 0 for none.
    pub seq_seen: u64,
}

/// The record that evidence allows, or `None` if no slot holds a verified seal. *Pure.*
///
/// A seal is written last and zeroed first, so a verified one vouches that its slot was complete,
/// and for nothing more: not that the release ever committed. The release with the highest rollback
/// index (of two equal ones, slot A) is therefore on trial; the other one was running when it was
/// written, and is the Good default to fall back to. Each gets [`REBUILT_TRIES`]. The floor becomes
/// the lowest index found. Lost for good are the install id and the compatible: both are empty in
/// the rebuilt record.
#[must_use]
pub fn rebuild(partitions: &Partitions, evidence: &Evidence) -> Option<Record> {
    let indexes = evidence
        .sealed
        .each_ref()
        .map(|sealed| sealed.as_ref().ok().map(|found| found.rollback_index));
    let [index_a, index_b] = indexes;
    let floor = indexes.into_iter().flatten().min()?;
    let newest = if index_b > index_a { Slot::B } else { Slot::A };
    let both = index_a.is_some() && index_b.is_some();
    let blank = Record::unused(partitions);
    let [empty_a, empty_b] = blank.slots;
    let [sealed_a, sealed_b] = &evidence.sealed;
    Some(Record {
        seq: evidence.seq_seen.saturating_add(SEQ_MARGIN),
        default: if both { newest.other() } else { newest },
        floor,
        slots: [
            slot_state(empty_a, sealed_a, newest == Slot::A),
            slot_state(empty_b, sealed_b, newest == Slot::B),
        ],
        ..blank
    })
}

impl Record {
    /// The record of a disk on which nothing is installed yet: both slots empty, no identity, no
    /// compatible, floor
    /// 0. *Pure.* A partition that is not there has the GUID zero.
    #[must_use]
    pub fn unused(partitions: &Partitions) -> Self {
        let uuid = |found: Option<Partition>| found.map_or(Guid::ZERO, |found| found.uuid);
        Self {
            seq: 0,
            disk_guid: partitions.disk_guid,
            install_id: Guid::ZERO,
            default: Slot::A,
            one_shot: None,
            floor: 0,
            recovery_uuid: uuid(partitions.recovery),
            compatible: Text64::EMPTY,
            slots: Slot::ALL.map(|slot| {
                SlotState::empty(uuid(partitions.boot(slot)), uuid(partitions.root(slot)))
            }),
        }
    }
}

fn slot_state(empty: SlotState, sealed: &Result<Statement, Reason>, is_newest: bool) -> SlotState {
    let statement = match sealed {
        Ok(statement) => statement,
        Err(reason) => return empty.unbootable(*reason),
    };
    let status = if is_newest {
        Status::Pending {
            tries_left: REBUILT_TRIES,
        }
    } else {
        Status::Good {
            budget_left: REBUILT_TRIES,
        }
    };
    let release = Release {
        version: statement.version,
        rollback_index: statement.rollback_index,
        manifest_sha256: statement.manifest.sha256,
    };
    let revoke = is_newest && statement.revoke;
    SlotState {
        status,
        reason: Reason::None,
        tries_granted: REBUILT_TRIES,
        revoke,
        release,
        ..empty
    }
}
