//! Errors of creating a delta.

use crate::create::error::CreateError;
use std::io;

/// Reasons why a delta cannot be created.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DeltaError {
    #[error("both bundles are release {0}, expected two different releases")]
    SameVersion(String),
    #[error("releases {old} and {new} have the same boot and root images")]
    SameImages { old: String, new: String },
    #[error("release {new} has neither a boot nor a root image")]
    NoImage { new: String },
    #[error(
        "release {new} has rollback index {new_index}, less than {old_index} of release {old}: machines would refuse it"
    )]
    Older {
        old: String,
        new: String,
        old_index: u64,
        new_index: u64,
    },
    #[error(
        "release {old} is compatible with {}, release {new} with {}: no machine fits both",
        old_names.join(", "),
        new_names.join(", ")
    )]
    Incompatible {
        old: String,
        new: String,
        old_names: Vec<String>,
        new_names: Vec<String>,
    },
    #[error("reading the images of release {0}: {1}")]
    Read(String, io::Error),
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl DeltaError {
    /// Returns true if the two releases are refused, false if something around them failed. *Pure.*
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Read(..) | Self::Create(_))
    }
}
