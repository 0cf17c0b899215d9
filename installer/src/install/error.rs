//! Errors of an installation.

use crate::disk::coexist::Obstacles;
use crate::disk::layout::LayoutError;
use crate::disk::table::TableError;
use bootctl::disk::DiskError;
use bootctl::store::StoreError;
use bundle::trust::pe::GuardError;
use std::io;
use updater::plan::Refusal;
use updater::{ApplyError, ApplyFailure};

/// Why an installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The bundle cannot be read or is not acceptable. The disk is unchanged.
    #[error(transparent)]
    Bundle(ApplyError),
    /// The bundle does not fit the layout or the machine. The disk is unchanged.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The guard in the bundle has no signature, and Secure Boot is on. The disk is unchanged.
    #[error(
        "the guard is not signed for Secure Boot, which is on: the firmware would not start it"
    )]
    UnsignedGuard,
    /// The bundle can be read only once, and the disk is not blank. The disk is unchanged.
    #[error(
        "the disk is not blank, and a bundle from a pipe cannot be verified first: name a file"
    )]
    ReadOnce,
    /// The boot guard in the bundle would start nothing of it. The disk is unchanged.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The layout does not fit the disk. The disk is unchanged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Partitions cannot be added to the disk. The disk is unchanged.
    #[error("disk: {0}")]
    Coexist(#[from] Obstacles),
    /// The disk cannot be read. The disk is unchanged.
    #[error("partition table: {0}")]
    Unreadable(io::Error),
    /// The rollback floor of the previous installation cannot be read. The disk is unchanged.
    #[error("rollback floor of the previous installation: {0}")]
    Floor(io::Error),
    /// The partition table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A write before that of the partition table failed.
    #[error("{what}: {error}")]
    Prepare {
        /// What was being written.
        what: &'static str,
        /// Error of the device.
        error: io::Error,
    },
    /// The new partition table cannot be read back.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The boot record cannot be read back.
    #[error("boot record: {0}")]
    Record(#[from] StoreError),
    /// The release cannot be written to its slot.
    #[error(transparent)]
    Apply(#[from] ApplyFailure),
}

impl InstallError {
    /// Reports whether the disk is unchanged. *Pure.*
    #[must_use]
    pub const fn disk_is_unchanged(&self) -> bool {
        matches!(
            self,
            Self::Bundle(_)
                | Self::Refused(_)
                | Self::UnsignedGuard
                | Self::ReadOnce
                | Self::Guard(_)
                | Self::Layout(_)
                | Self::Coexist(_)
                | Self::Unreadable(_)
                | Self::Floor(_)
        )
    }
}
