//! The errors of an apply.

use crate::plan::Refusal;
use crate::source::{FetchError, SourceError};
use bootctl::disk::DiskError;
use bootctl::store::StoreError;
use bundle::{DecodeError, ReadError};
use std::io;

/// Why a bundle was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is not fit for this machine. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not acceptable: damaged, or not signed by those who must.
    #[error("{0}")]
    Bundle(#[from] ReadError),
    /// A chunk of it does not become what was signed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It could not be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The boot record could not be read or written.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The disk lacks something.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The disk could not be written.
    #[error("{what}: {error}")]
    Write {
        /// What was written.
        what: &'static str,
        /// What the device said.
        error: io::Error,
    },
    /// What was written reads back as something else.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// The boot image on the disk is not the one that the guard will ask for.
    #[error("{0} image: the chunks are as signed, but the whole does not have the signed SHA-256")]
    Whole(&'static str),
    /// The hash tree over the written root image is not the signed one: the bundle is wrong.
    #[error(
        "root image: the chunks are as signed, but the root hash is {}, expected {}",
        bundle::hex(found),
        bundle::hex(expected)
    )]
    RootHash {
        /// What is signed.
        expected: [u8; 32],
        /// What the image has.
        found: [u8; 32],
    },
    /// The slot that a delta builds upon is damaged, and there is no whole bundle to turn to.
    #[error(transparent)]
    DamagedBase(#[from] Box<DamagedBase>),
    /// The whole bundle that was given beside a delta is another one.
    #[error(
        "release {version} comes with the whole bundle of release {found}, which has other images"
    )]
    OtherFull {
        /// The delta's release.
        version: String,
        /// The whole bundle's.
        found: String,
    },
    /// The work was stopped.
    #[error("stopped")]
    Stopped,
}

/// An error, and whether the target slot had been disarmed by then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What happened.
    pub error: ApplyError,
    /// The slot that can no longer be started; `None` if nothing was changed.
    pub disarmed: Option<record::Slot>,
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self {
            error,
            disarmed: None,
        }
    }
}

impl ApplyError {
    /// Returns the server's headers as the reason for wrong bytes, where they gave one; else
    /// `self`. *Pure.*
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

/// A chunk on the disk is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// It could not be read.
    #[error("{partition}: offset {offset}: {error}")]
    Io {
        /// Partition.
        partition: &'static str,
        /// Byte offset in it.
        offset: u64,
        /// What the device said.
        error: io::Error,
    },
    /// It reads back as something else: the device is faulty.
    #[error("{partition}: offset {offset}: read back other bytes than were written")]
    Differs {
        /// Partition.
        partition: &'static str,
        /// Byte offset in it.
        offset: u64,
    },
}

/// The base is damaged.
#[derive(Debug, thiserror::Error)]
#[error(
    "{partition}: bytes {start} to {} are not as release {base} was signed ({error}): the whole bundle of release {version} has what is missing (--full)",
    start + len.saturating_sub(1)
)]
pub struct DamagedBase {
    /// The partition.
    pub partition: &'static str,
    /// Where the damage begins in it, in bytes, or the bytes that it must be among.
    pub start: u64,
    /// How many bytes it is among.
    pub len: u64,
    /// The release that the slot holds.
    pub base: String,
    /// The release that was to be applied.
    pub version: String,
    /// What was found.
    pub error: DecodeError,
}
