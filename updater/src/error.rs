//! The errors of an apply.

use crate::plan::Refusal;
use crate::source::{FetchError, SourceError};
use bootctl::disk::DiskError;
use bootctl::store::StoreError;
use bundle::{DecodeError, ReadError};
use record::{PartitionName, Slot};
use std::io;

/// A bundle that was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The release is refused on this machine. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The head of the bundle is damaged, or its signatures are not sufficient.
    #[error("{0}")]
    Bundle(#[from] ReadError),
    /// A chunk does not have its signed digest.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The bundle could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The boot record could not be read or written.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The disk has no usable partition table, or lacks a partition.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The disk could not be written.
    #[error("{what}: {error}")]
    Write {
        /// The object that was written.
        what: &'static str,
        /// The error of the device.
        error: io::Error,
    },
    /// The bytes on the medium differ from the bytes that were written.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// An image does not have its signed digest, though each of its chunks does.
    #[error("{0} image: each chunk has its signed digest, but the whole image does not")]
    ImageDigest(&'static str),
    /// The hash tree of the written root image is not the signed one: the bundle is wrong.
    #[error(
        "root image: each chunk has its signed digest, but the root hash is {}, expected {}",
        bundle::hex(found),
        bundle::hex(expected)
    )]
    RootHash {
        /// The signed root hash.
        expected: [u8; 32],
        /// The root hash of the image.
        found: [u8; 32],
    },
    /// The slot that a delta builds upon is damaged, and no full bundle was given.
    #[error(transparent)]
    DamagedBase(#[from] Box<DamagedBase>),
    /// The full bundle that was given with a delta has other images.
    #[error("the full bundle of release {found} does not hold the images of release {version}")]
    FullBundleMismatch {
        /// The release of the delta.
        version: String,
        /// The release of the full bundle.
        found: String,
    },
    /// The caller stopped the work.
    #[error("stopped")]
    Stopped,
}

impl ApplyError {
    /// Returns `doubt`, the server's headers as an explanation, if this error is about wrong bytes;
    /// else `self`. *Pure.*
    #[must_use]
    pub(crate) fn explained_by(self, doubt: Option<SourceError>) -> Self {
        let is_about_bytes = matches!(
            self,
            Self::Bundle(_)
                | Self::Decode(_)
                | Self::Fetch(FetchError::Short { .. } | FetchError::Trailing { .. })
        );
        match doubt.filter(|_| is_about_bytes) {
            Some(doubt) => FetchError::from(doubt).into(),
            None => self,
        }
    }
}

/// A failed apply, and whether the target slot had been disarmed before.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ApplyFailure {
    /// The error.
    pub error: ApplyError,
    /// The slot that is Unbootable now; `None` if nothing was changed.
    pub disarmed: Option<Slot>,
}

impl From<ApplyError> for ApplyFailure {
    fn from(error: ApplyError) -> Self {
        Self {
            error,
            disarmed: None,
        }
    }
}

/// A chunk that did not read back as it was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The medium could not be read.
    #[error("{partition}: offset {offset}: {error}")]
    Io {
        /// Partition.
        partition: PartitionName,
        /// Byte offset in it.
        offset: u64,
        /// The error of the device.
        error: io::Error,
    },
    /// The bytes differ: the device is faulty.
    #[error("{partition}: offset {offset}: read back other bytes than were written")]
    Differs {
        /// Partition.
        partition: PartitionName,
        /// Byte offset in it.
        offset: u64,
    },
}

/// Damage in the slot that a delta builds upon.
#[derive(Debug, thiserror::Error)]
#[error(
    "{partition}: bytes {start} to {} differ from release {base} as signed ({error}): \
     --full takes them from the full bundle of release {version}",
    start + len.saturating_sub(1)
)]
pub struct DamagedBase {
    /// The partition.
    pub partition: PartitionName,
    /// Byte offset in it of the range that contains the damage.
    pub start: u64,
    /// Length of that range in bytes.
    pub len: u64,
    /// The release in the slot.
    pub base: String,
    /// The release that was to be applied.
    pub version: String,
    /// The error of decoding the first chunk.
    pub error: DecodeError,
}
