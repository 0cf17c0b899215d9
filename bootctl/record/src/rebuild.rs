//! A new record from evidence, for a machine on which both copies are lost.

use crate::gpt::{Partition, Partitions};
use crate::guid::Guid;
use crate::reason::Reason;
use crate::record::Record;
use crate::seq::MAX_SEQ;
use crate::slot::Slot;
use crate::slot_state::{Release, SlotState, Status};
use seal::{Accepted, Text64};

/// Number of launches that a slot gets from evidence.
pub const REBUILT_TRIES: u8 = 1;
/// Distance of the new sequence number from the highest known one. A copy that was unreadable for a
/// while can thus never replace the rebuilt record.
const SEQ_MARGIN: u64 = 1 << 16;

/// Evidence that remains when both copies of the record are lost.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// For each slot its seal, if it **verifies** and the boot image has the signed SHA-256;
    /// otherwise the reason for not starting the slot.
    pub sealed: [Result<Accepted, Reason>; 2],
    /// Highest key epoch that accepts the seal of recovery; `None` if none does.
    pub recovery_epoch: Option<u64>,
    /// Highest sequence number of a record in the event ring; 0 for none.
    pub seq_seen: u64,
}

/// Returns the record that the evidence allows, or `None` if no slot has a verified seal. *Pure.*
///
/// A seal is written last and erased first, so a verified one shows that its slot was complete, but
/// not that the release ever committed. The release with the higher rollback index (of two equal
/// ones, slot A) is therefore on trial. The other release was running when that one was written; it
/// is Good and the default. Each gets [`REBUILT_TRIES`]. The floor becomes the lowest index found,
/// and the trust floor the lowest key epoch.
///
/// If the newer release revokes older ones, it may have committed: then the older one is not
/// started any more, and the floors are those of the newer one.
///
/// The install id and the compatible are lost: both are empty in the new record.
#[must_use]
pub fn rebuild(partitions: &Partitions, evidence: &Evidence) -> Option<Record> {
    let indexes = evidence.sealed.each_ref().map(|sealed| {
        sealed
            .as_ref()
            .ok()
            .map(|found| found.statement.rollback_index)
    });
    let [index_a, index_b] = indexes;
    let newest = if index_b > index_a { Slot::B } else { Slot::A };
    let [sealed_a, sealed_b] = &evidence.sealed;
    let newest_seal = match newest {
        Slot::A => sealed_a,
        Slot::B => sealed_b,
    };
    let newest_seal = newest_seal.as_ref().ok()?;
    let found = || evidence.sealed.iter().flatten();
    let floors = if newest_seal.statement.revoke {
        Floors::of(newest_seal)
    } else {
        let epochs = found()
            .map(|found| found.epoch)
            .chain(evidence.recovery_epoch);
        Floors {
            index: indexes.into_iter().flatten().min()?,
            epoch: epochs.min()?,
        }
    };
    let is_fallback = |found: &&Accepted| {
        found.statement.rollback_index >= floors.index && found.epoch >= floors.epoch
    };
    let both = found().filter(is_fallback).count() > 1;
    let blank = Record::unused(partitions);
    let [empty_a, empty_b] = blank.slots;
    Some(Record {
        seq: evidence
            .seq_seen
            .min(MAX_SEQ / 2)
            .saturating_add(SEQ_MARGIN),
        default: if both { newest.other() } else { newest },
        floor: floors.index,
        trust_floor: floors.epoch,
        recovery_epoch: evidence.recovery_epoch.unwrap_or(0),
        slots: [
            slot_state(empty_a, sealed_a, newest == Slot::A, floors),
            slot_state(empty_b, sealed_b, newest == Slot::B, floors),
        ],
        ..blank
    })
}

/// The lowest rollback index and the lowest key epoch that are started.
#[derive(Clone, Copy)]
struct Floors {
    index: u64,
    epoch: u64,
}

impl Floors {
    const fn of(seal: &Accepted) -> Self {
        Self {
            index: seal.statement.rollback_index,
            epoch: seal.epoch,
        }
    }
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
            trust_floor: 0,
            recovery_epoch: 0,
            recovery_uuid: uuid(partitions.recovery),
            compatible: Text64::EMPTY,
            slots: Slot::ALL.map(|slot| {
                SlotState::empty(uuid(partitions.boot(slot)), uuid(partitions.root(slot)))
            }),
        }
    }
}

fn slot_state(
    empty: SlotState,
    sealed: &Result<Accepted, Reason>,
    is_newest: bool,
    floors: Floors,
) -> SlotState {
    let Accepted { statement, epoch } = match sealed {
        Ok(accepted) => accepted,
        Err(reason) => return empty.unbootable(*reason),
    };
    let is_ruled_out = statement.rollback_index < floors.index || *epoch < floors.epoch;
    let (status, reason) = if is_ruled_out {
        (Status::Unbootable, Reason::Revoked)
    } else if is_newest {
        let tries_left = REBUILT_TRIES;
        (Status::Pending { tries_left }, Reason::None)
    } else {
        let budget_left = REBUILT_TRIES;
        (Status::Good { budget_left }, Reason::None)
    };
    let release = Release {
        version: statement.version,
        rollback_index: statement.rollback_index,
        manifest_sha256: statement.manifest.sha256,
    };
    let revoke = is_newest && statement.revoke;
    SlotState {
        status,
        reason,
        tries_granted: REBUILT_TRIES,
        revoke,
        release,
        trust_epoch: *epoch,
        ..empty
    }
}
