//! The volatile variable `RayosBoot`, by which the guard reports to the system that it starts.

use crate::decision::Why;
use crate::guid::Guid;
use crate::slot::Choice;
use seal::VerifiedRoot;
use seal::field::{get, put};

/// Length of the variable's data in bytes, as the guard writes it.
pub const HANDOFF_LEN: usize = 120;
/// Length up to the verified root: without the rest there is none.
const UNVERIFIED_LEN: usize = 80;

/// The guard's report on what it started. The variable is volatile, so it is always about the
/// present boot.
///
/// ```text
/// offset  bytes  what
///      0      1  version, 1        1  1  started: 1 A, 2 B, 3 recovery    2  1  why (see [`Why`])
///      3      1  tries or budget left after this launch
///      4      4  zero              8  8  sequence number of the record (0: there is none)
///     16     16  disk GUID        32 16  PARTUUID of the boot partition
///     48     16  PARTUUID of the root partition                 64 16  PARTUUID of the state partition
///     80      8  length of the verified root image, 0: none     88 32  root hash of its hash tree
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// What was started.
    pub choice: Choice,
    /// Why it was started.
    pub why: Why,
    /// Tries (on trial) or budget (committed) left after this launch.
    pub left: u8,
    /// Sequence number of the record from which the guard decided.
    pub seq: u64,
    /// GUID of its disk.
    pub disk_guid: Guid,
    /// PARTUUID of its boot partition; zero for recovery from an installation medium.
    pub boot_uuid: Guid,
    /// PARTUUID of its root partition; zero for recovery.
    pub root_uuid: Guid,
    /// PARTUUID of the state partition; zero if there is none.
    pub state_uuid: Guid,
    /// Length and root hash of the root image, as the seal of the started slot signs them; `None` for
    /// recovery, and for a release whose root is not verified while it is read.
    pub verified_root: Option<VerifiedRoot>,
}

impl Handoff {
    /// Attributes that the guard gives the variable: boot-service and run-time access, and not
    /// non-volatile (UEFI 2.10, 8.2). With others it is another program's.
    pub const ATTRIBUTES: u32 = 6;
    /// Name of the variable, under [`crate::VENDOR`].
    pub const VARIABLE: &'static str = "RayosBoot";

    /// Returns the variable's data. *Pure.*
    #[must_use]
    pub fn encode(&self) -> [u8; HANDOFF_LEN] {
        let mut bytes = [0; HANDOFF_LEN];
        put(
            &mut bytes,
            0,
            &[1, self.choice.code(), self.why as u8, self.left],
        );
        put(&mut bytes, 8, &self.seq.to_le_bytes());
        for (guid, at) in [
            self.disk_guid,
            self.boot_uuid,
            self.root_uuid,
            self.state_uuid,
        ]
        .iter()
        .zip((16..).step_by(16))
        {
            put(&mut bytes, at, &guid.0);
        }
        VerifiedRoot::put(self.verified_root.as_ref(), &mut bytes, 80);
        bytes
    }

    /// Decodes the variable's data; `None` for another version or an unknown value. *Pure.* Data
    /// that end before the verified root have none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if ![UNVERIFIED_LEN, HANDOFF_LEN].contains(&bytes.len()) {
            return None;
        }
        let mut whole = [0; HANDOFF_LEN];
        put(&mut whole, 0, bytes);
        let bytes = &whole;
        let [version, choice, why, left] = get(bytes, 0);
        if version != 1 {
            return None;
        }
        Some(Self {
            choice: Choice::from_code(choice)?,
            why: Why::from_code(why)?,
            left,
            seq: u64::from_le_bytes(get(bytes, 8)),
            disk_guid: Guid(get(bytes, 16)),
            boot_uuid: Guid(get(bytes, 32)),
            root_uuid: Guid(get(bytes, 48)),
            state_uuid: Guid(get(bytes, 64)),
            verified_root: VerifiedRoot::get(bytes, 80).ok()?,
        })
    }
}
