//! The part of the boot record about one slot.

use crate::guid::Guid;
use crate::reason::Reason;
use crate::record_error::RecordError;
use seal::Text64;
use seal::field::{get, put};

/// Number of tries that a newly applied release gets.
pub const TRIAL_TRIES: u8 = 3;
/// Number of boots in a row that a Good slot may fail to commit before it becomes Unbootable.
pub const GOOD_BUDGET: u8 = 8;
/// Length of the part in bytes.
pub(crate) const SLOT_LEN: usize = 192;

/// Status of a slot: whether and how often the guard may start it.
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

/// The release in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// Version, for people.
    pub version: Text64,
    /// Rollback index, for decisions.
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

/// The part of the record about one slot.
///
/// ```text
/// offset  bytes  what
///      0      1  status: 0 Unbootable, 1 Pending, 2 Good     1  1  tries or budget left
///      2      1  reason                                      3  1  tries that were granted
///      4      4  flags: bit 0 revoke
///      8      8  rollback index                             16 32  SHA-256 of the manifest
///     48     64  version                                   112 16  PARTUUID of the boot partition
///    128     16  PARTUUID of the root partition            144  8  trust epoch    152 40  zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotState {
    /// Whether and how often the guard may start it.
    pub status: Status,
    /// Why it is Unbootable; [`Reason::None`] otherwise.
    pub reason: Reason,
    /// Number of tries that its release was granted when it was activated.
    pub tries_granted: u8,
    /// Whether the commit of its release makes older releases Unbootable.
    pub revoke: bool,
    /// The release it holds, or held before it became Unbootable.
    pub release: Release,
    /// Highest key epoch that accepts the seal of its release. A higher trust floor rules it out.
    pub trust_epoch: u64,
    /// PARTUUID of the boot partition.
    pub boot_uuid: Guid,
    /// PARTUUID of the root partition.
    pub root_uuid: Guid,
}

impl SlotState {
    /// Returns a slot that was never written to. *Pure.*
    #[must_use]
    pub const fn empty(boot_uuid: Guid, root_uuid: Guid) -> Self {
        Self {
            status: Status::Unbootable,
            reason: Reason::Empty,
            tries_granted: 0,
            revoke: false,
            release: Release::NONE,
            trust_epoch: 0,
            boot_uuid,
            root_uuid,
        }
    }

    /// Returns the slot as Unbootable for `reason`. *Pure.* It keeps its release.
    #[must_use]
    pub const fn unbootable(self, reason: Reason) -> Self {
        Self {
            status: Status::Unbootable,
            reason,
            ..self
        }
    }

    /// Returns whether the guard may start it. *Pure.*
    #[must_use]
    pub const fn is_bootable(&self) -> bool {
        match self.status {
            Status::Unbootable => false,
            Status::Pending { tries_left: left } | Status::Good { budget_left: left } => left > 0,
        }
    }

    /// Returns whether its release has committed. *Pure.*
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self.status, Status::Good { .. })
    }

    pub(crate) fn encode(&self) -> [u8; SLOT_LEN] {
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
        put(&mut bytes, 144, &self.trust_epoch.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SLOT_LEN]) -> Result<Self, RecordError> {
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
            trust_epoch: u64::from_le_bytes(get(bytes, 144)),
            boot_uuid: Guid(get(bytes, 112)),
            root_uuid: Guid(get(bytes, 128)),
        })
    }
}
