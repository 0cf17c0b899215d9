//! The boot record: the only authority over what boots.

use crate::Guid;
use seal::Text64;
use seal::field::{get, put};

/// Length of one copy of the record in bytes.
pub const RECORD_LEN: usize = 4096;
/// Tries that a newly applied release gets.
pub const TRIAL_TRIES: u8 = 3;
/// Boots that a Good slot may fail to commit before it is given up.
pub const GOOD_BUDGET: u8 = 8;

const MAGIC: [u8; 8] = *b"RAYOSREC";
const MAJOR: u16 = 1;
const SLOTS_AT: usize = 192;
const SLOT_LEN: usize = 192;
const END: usize = 576;
const CRC_AT: usize = 4092;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Slot A.
    A,
    /// Slot B.
    B,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`, as in partition names and on command lines.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl core::fmt::Display for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

impl core::str::FromStr for Slot {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "a" | "A" => Ok(Self::A),
            "b" | "B" => Ok(Self::B),
            _ => Err("expected a or b"),
        }
    }
}

/// Something that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// A slot.
    Slot(Slot),
    /// The recovery system.
    Recovery,
}

impl Choice {
    /// The number that stands on disk, in variables and in boot entries: 1 A, 2 B, 3 recovery.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Slot(Slot::A) => 1,
            Self::Slot(Slot::B) => 2,
            Self::Recovery => 3,
        }
    }

    /// What this number stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Slot(Slot::A)),
            2 => Some(Self::Slot(Slot::B)),
            3 => Some(Self::Recovery),
            _ => None,
        }
    }
}

impl core::fmt::Display for Choice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "slot {slot}"),
            Self::Recovery => f.write_str("recovery"),
        }
    }
}

impl core::str::FromStr for Choice {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "recovery" => Ok(Self::Recovery),
            slot => slot
                .parse()
                .map(Self::Slot)
                .map_err(|_| "expected a, b or recovery"),
        }
    }
}

/// Whether and how often a slot may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Never. The reason is in [`SlotState::reason`].
    Unbootable,
    /// On trial: a release that has not committed yet.
    Pending {
        /// Launches that remain.
        tries_left: u8,
    },
    /// Committed.
    Good {
        /// Launches that may still fail to reach commit.
        budget_left: u8,
    },
}

/// Why a slot is Unbootable, or why the guard passed over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// None: the slot is Pending or Good.
    None = 0,
    /// Nothing was ever written to it.
    Empty = 1,
    /// A release is being written to it, or the writing was cut off.
    Updating = 2,
    /// A new release used up its tries without committing.
    TriesExhausted = 3,
    /// A committed release failed to reach commit too often in a row.
    BudgetExhausted = 4,
    /// The header of its boot partition is damaged or missing.
    HeaderDamaged = 5,
    /// The signatures of its boot image are not accepted.
    SignatureRefused = 6,
    /// Its boot image does not have the signed SHA-256.
    ImageDamaged = 7,
    /// The firmware refused to load the image.
    LoadFailed = 8,
    /// The started image returned to the guard.
    Returned = 9,
    /// The partition could not be read.
    ReadFailed = 10,
    /// Someone marked it bad.
    MarkedBad = 11,
    /// Someone rolled back from it.
    RolledBack = 12,
    /// A later release revoked it.
    Revoked = 13,
    /// Its release is older than the floor.
    BelowFloor = 14,
    /// The release in the boot partition is not the one in the record.
    OtherRelease = 15,
    /// The partition is not there.
    Missing = 16,
    /// Damaged chunks of a committed release are being written anew, or that was cut off; when it
    /// is done the slot is Good again.
    Repairing = 17,
    /// Secure Boot is on, and the firmware does not accept the image's signature for it, or it has
    /// none.
    SecureBoot = 18,
    /// A reason that a later minor version wrote.
    Other = 255,
}

impl Reason {
    const ALL: [Self; 19] = [
        Self::None,
        Self::Empty,
        Self::Updating,
        Self::TriesExhausted,
        Self::BudgetExhausted,
        Self::HeaderDamaged,
        Self::SignatureRefused,
        Self::ImageDamaged,
        Self::LoadFailed,
        Self::Returned,
        Self::ReadFailed,
        Self::MarkedBad,
        Self::RolledBack,
        Self::Revoked,
        Self::BelowFloor,
        Self::OtherRelease,
        Self::Missing,
        Self::Repairing,
        Self::SecureBoot,
    ];

    /// The number that stands on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this number; [`Reason::Other`] for one that is not known.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| reason.code() == code)
            .unwrap_or(Self::Other)
    }

    /// The reason in words that complete "slot A is not started: ...".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "no reason",
            Self::Empty => "it is empty",
            Self::Updating => "an update of it was begun and not finished",
            Self::TriesExhausted => "its release used up its tries without committing",
            Self::BudgetExhausted => "its release stopped reaching commit",
            Self::HeaderDamaged => "the header of its boot image is damaged",
            Self::SignatureRefused => "the signature of its boot image is not accepted",
            Self::ImageDamaged => "its boot image is not the one that was signed",
            Self::LoadFailed => "the firmware refused to load its boot image",
            Self::Returned => "its boot image gave up and returned",
            Self::ReadFailed => "its boot partition cannot be read",
            Self::MarkedBad => "it was marked bad",
            Self::RolledBack => "it was rolled back",
            Self::Revoked => "a later release revoked it",
            Self::BelowFloor => "its release is older than this machine accepts",
            Self::OtherRelease => "it holds another release than the boot record says",
            Self::Missing => "its partition is missing",
            Self::Repairing => "a repair of it was begun and not finished",
            Self::SecureBoot => "the firmware's Secure Boot does not accept its boot image",
            Self::Other => "a reason that this version does not know",
        }
    }
}

/// Which release a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// Name for people.
    pub version: Text64,
    /// Number for decisions.
    pub rollback_index: u64,
    /// SHA-256 of the manifest: the identity of the release.
    pub manifest_sha256: [u8; 32],
}

impl Release {
    /// No release.
    pub const NONE: Self = Self {
        version: Text64::EMPTY,
        rollback_index: 0,
        manifest_sha256: [0; 32],
    };
}

/// What the record says about one slot.
///
/// ```text
/// offset  bytes  what
///      0      1  status: 0 Unbootable, 1 Pending, 2 Good     1  1  tries or budget left
///      2      1  reason                                      3  1  tries that were granted
///      4      4  flags: bit 0 revoke
///      8      8  rollback index                             16 32  SHA-256 of the manifest
///     48     64  version                                   112 16  PARTUUID of the boot partition
///    128     16  PARTUUID of the root partition            144 48  zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotState {
    /// Whether and how often it may be started.
    pub status: Status,
    /// Why it is Unbootable.
    pub reason: Reason,
    /// Tries that its release was granted when it was activated.
    pub tries_granted: u8,
    /// Whether committing its release makes older ones unbootable.
    pub revoke: bool,
    /// The release it holds, or held before it became Unbootable.
    pub release: Release,
    /// PARTUUID of the boot partition.
    pub boot_uuid: Guid,
    /// PARTUUID of the root partition.
    pub root_uuid: Guid,
}

impl SlotState {
    /// A slot that was never written to.
    #[must_use]
    pub const fn empty(boot_uuid: Guid, root_uuid: Guid) -> Self {
        Self {
            status: Status::Unbootable,
            reason: Reason::Empty,
            tries_granted: 0,
            revoke: false,
            release: Release::NONE,
            boot_uuid,
            root_uuid,
        }
    }

    /// The slot, made Unbootable for `reason`; it keeps the name of its release.
    #[must_use]
    pub const fn unbootable(self, reason: Reason) -> Self {
        Self {
            status: Status::Unbootable,
            reason,
            ..self
        }
    }

    /// Whether the guard may start it.
    #[must_use]
    pub const fn is_bootable(&self) -> bool {
        match self.status {
            Status::Unbootable => false,
            Status::Pending { tries_left: left } | Status::Good { budget_left: left } => left > 0,
        }
    }

    /// Whether it has committed.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self.status, Status::Good { .. })
    }

    fn encode(&self) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        let (status, left) = match self.status {
            Status::Unbootable => (0, 0),
            Status::Pending { tries_left } => (1, tries_left),
            Status::Good { budget_left } => (2, budget_left),
        };
        put(
            &mut bytes,
            0,
            &[status, left, self.reason.code(), self.tries_granted],
        );
        put(&mut bytes, 4, &u32::from(self.revoke).to_le_bytes());
        put(&mut bytes, 8, &self.release.rollback_index.to_le_bytes());
        put(&mut bytes, 16, &self.release.manifest_sha256);
        put(&mut bytes, 48, &self.release.version.encode());
        put(&mut bytes, 112, &self.boot_uuid.0);
        put(&mut bytes, 128, &self.root_uuid.0);
        bytes
    }

    fn decode(bytes: &[u8; SLOT_LEN]) -> Result<Self, RecordError> {
        let [status, left, reason, tries_granted] = get(bytes, 0);
        let status = match status {
            0 => Status::Unbootable,
            1 => Status::Pending { tries_left: left },
            2 => Status::Good { budget_left: left },
            _ => return Err(RecordError::Field("slot status")),
        };
        Ok(Self {
            status,
            reason: Reason::from_code(reason),
            tries_granted,
            revoke: u32::from_le_bytes(get(bytes, 4)) & 1 != 0,
            release: Release {
                version: Text64::decode(get(bytes, 48)).ok_or(RecordError::Field("version"))?,
                rollback_index: u64::from_le_bytes(get(bytes, 8)),
                manifest_sha256: get(bytes, 16),
            },
            boot_uuid: Guid(get(bytes, 112)),
            root_uuid: Guid(get(bytes, 128)),
        })
    }
}

/// The boot record. Two copies stand in the state partition; see [`crate::Pair`].
///
/// ```text
/// offset  bytes  what
///      0      8  "RAYOSREC"            8  2  major version, 1     10  2  minor version
///     12      4  copy index, 0 or 1   16  8  sequence number
///     24     16  disk GUID            40 16  install id
///     56      1  default slot: 1 A, 2 B
///     57      1  one-shot request: 0 none, 1 A, 2 B, 3 recovery   58  6  zero
///     64      8  floor                72 16  PARTUUID of the recovery partition
///     88     64  compatible of this machine                       152 40  zero
///    192    192  slot A              384 192  slot B (see [`SlotState`])
///    576   3516  zero in minor version 0
///   4092      4  CRC-32 (IEEE) of the bytes before it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Rises by one with every write; the highest valid copy wins.
    pub seq: u64,
    /// GUID of the disk it was written for.
    pub disk_guid: Guid,
    /// Made anew by every install.
    pub install_id: Guid,
    /// What a plain boot takes.
    pub default: Slot,
    /// Request for the next boot alone.
    pub one_shot: Option<Choice>,
    /// Lowest rollback index that this machine accepts.
    pub floor: u64,
    /// PARTUUID of the recovery partition.
    pub recovery_uuid: Guid,
    /// What a release must be compatible with.
    pub compatible: Text64,
    /// Slots A and B.
    pub slots: [SlotState; 2],
}

/// Why a block is not a usable copy of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// All zero or without the magic.
    NotARecord,
    /// The CRC does not match: torn, or damaged.
    Damaged,
    /// Written by a later major version: it must not be overwritten.
    UnknownMajor(u16),
    /// It says that it is the other copy: a misdirected write.
    WrongCopy,
    /// A field has a value that was never written.
    Field(&'static str),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotARecord => f.write_str("not a boot record"),
            Self::Damaged => f.write_str("checksum does not match"),
            Self::UnknownMajor(found) => {
                write!(f, "version {found} is not known: this program reads 1")
            }
            Self::WrongCopy => f.write_str("it is the other copy, misplaced"),
            Self::Field(name) => write!(f, "{name} has an unknown value"),
        }
    }
}
impl core::error::Error for RecordError {}

impl Record {
    /// The state of `slot`.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> &SlotState {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// The record with `state` for `slot`. *Pure.*
    #[must_use]
    pub const fn with_slot(self, slot: Slot, state: SlotState) -> Self {
        let [a, b] = self.slots;
        let slots = match slot {
            Slot::A => [state, b],
            Slot::B => [a, state],
        };
        Self { slots, ..self }
    }

    /// The block for `copy` (0 or 1). *Pure*; one record has one encoding per copy.
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
        for (state, at) in self.slots.iter().zip((SLOTS_AT..END).step_by(SLOT_LEN)) {
            put(&mut bytes, at, &state.encode());
        }
        let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        bytes
    }

    /// Reads the block of `copy`. *Pure.* Later minor versions are read, their additions ignored.
    ///
    /// # Errors
    /// [`RecordError`]. The major version is looked at only under a matching CRC, so that damage is
    /// never taken for a later version.
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
            seq: u64::from_le_bytes(get(bytes, 16)),
            disk_guid: Guid(get(bytes, 24)),
            install_id: Guid(get(bytes, 40)),
            default,
            one_shot,
            floor: u64::from_le_bytes(get(bytes, 64)),
            recovery_uuid: Guid(get(bytes, 72)),
            compatible: Text64::decode(get(bytes, 88)).ok_or(RecordError::Field("compatible"))?,
            slots: [
                SlotState::decode(&get(bytes, SLOTS_AT))?,
                SlotState::decode(&get(bytes, 384))?,
            ],
        })
    }
}
