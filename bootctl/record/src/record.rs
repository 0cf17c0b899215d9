//! The boot record: the only authority over what boots.

use crate::guid::Guid;
use crate::record_error::RecordError;
use crate::seq::MAX_SEQ;
use crate::slot::{Choice, Slot};
use crate::slot_state::SlotState;
use seal::Text64;
use seal::field::{get, put};

/// Length of one copy of the record in bytes.
pub const RECORD_LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"RAYOSREC";
const MAJOR: u16 = 1;
const FIRST_SLOT_AT: usize = 192;
const SECOND_SLOT_AT: usize = 384;
const CRC_AT: usize = 4092;

/// The boot record. The state partition holds two copies; see [`crate::Pair`].
///
/// ```text
/// offset  bytes  what
///      0      8  "RAYOSREC"            8  2  major version, 1     10  2  minor version
///     12      4  copy index, 0 or 1   16  8  sequence number
///     24     16  disk GUID            40 16  install id
///     56      1  default slot: 1 A, 2 B
///     57      1  one-shot request: 0 none, 1 A, 2 B, 3 recovery   58  6  zero
///     64      8  floor                72 16  PARTUUID of the recovery partition
///     88     64  compatible of this machine
///    152      8  trust floor            160  8  trust epoch of the recovery image, 168 24 zero
///    192    192  slot A              384 192  slot B (see [`SlotState`])
///    576   3516  zero in minor version 0
///   4092      4  CRC-32 (IEEE) of the bytes before it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Sequence number; it rises by one with each write. The valid copy with the higher one is the
    /// current record.
    pub seq: u64,
    /// GUID of the disk it was written for.
    pub disk_guid: Guid,
    /// Id of the installation.
    pub install_id: Guid,
    /// Slot that a plain boot starts.
    pub default: Slot,
    /// Request for the next boot only.
    pub one_shot: Option<Choice>,
    /// Lowest rollback index that this machine accepts.
    pub floor: u64,
    /// Lowest key epoch whose keys this machine accepts.
    pub trust_floor: u64,
    /// Highest key epoch that accepts the recovery image; 0 if there is none.
    pub recovery_epoch: u64,
    /// PARTUUID of the recovery partition.
    pub recovery_uuid: Guid,
    /// Compatible of this machine.
    pub compatible: Text64,
    /// Slots A and B.
    pub slots: [SlotState; 2],
}

impl Record {
    /// Returns the state of `slot`. *Pure.*
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> &SlotState {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Returns the record with `state` for `slot`. *Pure.*
    #[must_use]
    pub const fn with_slot(self, slot: Slot, state: SlotState) -> Self {
        let [a, b] = self.slots;
        let slots = match slot {
            Slot::A => [state, b],
            Slot::B => [a, state],
        };
        Self { slots, ..self }
    }

    /// Returns the PARTUUIDs of the partitions that it was written for: boot and root of both slots,
    /// and recovery. *Pure.*
    #[must_use]
    pub const fn partition_uuids(&self) -> [Guid; 5] {
        let [a, b] = &self.slots;
        [
            a.boot_uuid,
            b.boot_uuid,
            a.root_uuid,
            b.root_uuid,
            self.recovery_uuid,
        ]
    }

    /// Returns the block for `copy` (0 or 1). *Pure*; a record has one encoding for each copy.
    #[must_use]
    pub fn encode(&self, copy: u32) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &MAJOR.to_le_bytes());
        put(&mut bytes, 12, &copy.to_le_bytes());
        put(&mut bytes, 16, &self.seq.to_le_bytes());
        put(&mut bytes, 24, &self.disk_guid.0);
        put(&mut bytes, 40, &self.install_id.0);
        put(
            &mut bytes,
            56,
            &[
                Choice::Slot(self.default).code(),
                self.one_shot.map_or(0, Choice::code),
            ],
        );
        put(&mut bytes, 64, &self.floor.to_le_bytes());
        put(&mut bytes, 72, &self.recovery_uuid.0);
        put(&mut bytes, 88, &self.compatible.encode());
        put(&mut bytes, 152, &self.trust_floor.to_le_bytes());
        put(&mut bytes, 160, &self.recovery_epoch.to_le_bytes());
        for (state, at) in self.slots.iter().zip([FIRST_SLOT_AT, SECOND_SLOT_AT]) {
            put(&mut bytes, at, &state.encode());
        }
        let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        bytes
    }

    /// Decodes the block of `copy`. *Pure.* Additions of later minor versions are ignored.
    ///
    /// # Errors
    /// [`RecordError`]. The CRC is checked before the major version, so that damage is never taken
    /// for a later version.
    pub fn decode(bytes: &[u8; RECORD_LEN], copy: u32) -> Result<Self, RecordError> {
        if get::<8>(bytes, 0) != MAGIC {
            return Err(RecordError::NotARecord);
        }
        let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
        if u32::from_le_bytes(get(bytes, CRC_AT)) != crc {
            return Err(RecordError::Damaged);
        }
        let major = u16::from_le_bytes(get(bytes, 8));
        if major != MAJOR {
            return Err(RecordError::UnknownMajor(major));
        }
        if u32::from_le_bytes(get(bytes, 12)) != copy {
            return Err(RecordError::WrongCopy);
        }
        let seq = u64::from_le_bytes(get(bytes, 16));
        if seq > MAX_SEQ {
            return Err(RecordError::Field("sequence number"));
        }
        let [default, one_shot] = get(bytes, 56);
        let default = match Choice::from_code(default) {
            Some(Choice::Slot(slot)) => slot,
            _ => return Err(RecordError::Field("default slot")),
        };
        let one_shot = match one_shot {
            0 => None,
            code => Some(Choice::from_code(code).ok_or(RecordError::Field("one-shot request"))?),
        };
        Ok(Self {
            seq,
            disk_guid: Guid(get(bytes, 24)),
            install_id: Guid(get(bytes, 40)),
            default,
            one_shot,
            floor: u64::from_le_bytes(get(bytes, 64)),
            recovery_uuid: Guid(get(bytes, 72)),
            trust_floor: u64::from_le_bytes(get(bytes, 152)),
            recovery_epoch: u64::from_le_bytes(get(bytes, 160)),
            compatible: Text64::decode(get(bytes, 88)).ok_or(RecordError::Field("compatible"))?,
            slots: [
                SlotState::decode(&get(bytes, FIRST_SLOT_AT))?,
                SlotState::decode(&get(bytes, SECOND_SLOT_AT))?,
            ],
        })
    }
}
