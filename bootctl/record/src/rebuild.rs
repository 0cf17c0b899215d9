//! A new record from evidence, for a machine on which both copies are lost.

use crate::gpt::{Partition, Partitions};
use crate::guid::Guid;
use crate::reason::Reason;
use crate::record::Record;
use crate::slot::Slot;
use crate::slot_state::{Release, SlotState, Status};
use seal::{Statement, Text64};

/// Number of launches that a slot gets from evidence.
pub const REBUILT_TRIES: u8 = 1;
/// Distance of the new sequence number from the highest known one. A copy that was unreadable for a
/// while can thus never replace the rebuilt record.
const SEQ_MARGIN: u64 = 1 << 16;

/// Evidence that remains when both copies of the record are lost.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// For each slot the signed statement in its boot partition, if it **verifies** and the boot
    /// image has the signed SHA-256; otherwise the reason for not starting the slot.
    pub sealed: [Result<Statement, Reason>; 2],
    /// Highest sequence number of a record in the event ring; 0 for none.
    pub seq_seen: u64,
}

/// Returns the record that the evidence allows, or `None` if no slot has a verified seal. *Pure.*
///
/// A seal is written last and erased first, so a verified one shows that its slot was complete, but
/// not that the release ever committed. The release with the higher rollback index (of two equal
/// ones, slot A) is therefore on trial. The other release was running when that one was written; it
/// is Good and the default. Each gets [`REBUILT_TRIES`]. The floor becomes the lowest index found.
/// The install id and the compatible are lost: both are empty in the new record.
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
    /// Returns the record of a disk without a release. *Pure.* Both slots are empty, the floor is
    /// 0, and there is no install id and no compatible. A missing partition has the GUID zero.
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
