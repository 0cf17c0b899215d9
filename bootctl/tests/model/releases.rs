//! The releases that this model offers, and what the slots hold of them.

use record::{Reason, Release};
use seal::{Accepted, ImageDigest, Statement, Text64};

/// Number of tries that a release is granted.
pub(crate) const TRIES: u8 = 2;

/// Behaviour of a release when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Behaviour {
    /// It starts, and its checks pass.
    Works,
    /// It hangs, panics or fails its checks: the machine resets.
    Fails,
    /// Its boot image returns to the guard.
    Returns,
}

/// A release of the model.
pub(crate) struct ModelRelease {
    pub(crate) rollback_index: u64,
    /// The highest key epoch that accepts it.
    pub(crate) epoch: u64,
    pub(crate) behaviour: Behaviour,
    pub(crate) revokes: bool,
}

/// The highest key epoch that accepts recovery: it never holds the trust floor down here.
pub(crate) const RECOVERY_EPOCH: u64 = 9;

const fn release_of(
    (rollback_index, epoch): (u64, u64),
    behaviour: Behaviour,
    revokes: bool,
) -> ModelRelease {
    ModelRelease {
        rollback_index,
        epoch,
        behaviour,
        revokes,
    }
}

const RELEASES: [ModelRelease; 5] = [
    release_of((1, 1), Behaviour::Works, false),
    release_of((2, 2), Behaviour::Works, false),
    release_of((3, 2), Behaviour::Fails, false),
    release_of((3, 3), Behaviour::Returns, false),
    release_of((4, 3), Behaviour::Works, true),
];

/// Returns the release with this number.
pub(crate) fn model_release(number: u8) -> &'static ModelRelease {
    &RELEASES[usize::from(number)]
}

/// Returns the release with this number as it stands in a record.
pub(crate) fn release(number: u8) -> Release {
    Release {
        version: Text64::new(&format!("r{number}")).unwrap(),
        rollback_index: model_release(number).rollback_index,
        manifest_sha256: [number; 32],
    }
}

/// Content of the partitions of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// No header: the slot is empty, or a write has begun.
    Open,
    /// A valid header before a torn image. Only a broken updater leaves that.
    Torn(u8),
    /// A complete release. It may have begun to fail after it worked.
    Whole { release: u8, behaviour: Behaviour },
}

impl Content {
    /// Returns what the slot's seal says, if its image is complete.
    pub(crate) fn sealed(self) -> Result<Accepted, Reason> {
        let Self::Whole {
            release: number, ..
        } = self
        else {
            return Err(Reason::HeaderDamaged);
        };
        let release = release(number);
        let digest = |sha256| ImageDigest { len: 1, sha256 };
        let statement = Statement {
            version: release.version,
            rollback_index: release.rollback_index,
            key_epoch: 1,
            revoke: model_release(number).revokes,
            watchdog: false,
            manifest: digest(release.manifest_sha256),
            boot: digest([0; 32]),
            recovery: ImageDigest::NONE,
            root: None,
            links: ImageDigest::NONE,
            bundle_len: 8192,
        };
        let epoch = model_release(number).epoch;
        Ok(Accepted { statement, epoch })
    }
}
