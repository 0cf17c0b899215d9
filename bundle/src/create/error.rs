//! Errors of creating a bundle.

use crate::format::limits::{MAX_BASE_RANGES, MAX_CHUNKS, MAX_MANIFEST_LEN};
use crate::format::manifest::{ImageRole, ManifestError};
use seal::SealError;
use std::io;
use std::path::PathBuf;

/// Reasons why a bundle cannot be created.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum CreateError {
    #[error("image {role}: {}: {error}", path.display())]
    Image {
        role: ImageRole,
        path: PathBuf,
        error: io::Error,
    },
    #[error("image {role}: {}: empty", path.display())]
    Empty { role: ImageRole, path: PathBuf },
    #[error("images need more than {MAX_CHUNKS} chunks: choose a larger chunk size")]
    Chunks,
    #[error("delta needs more than {MAX_BASE_RANGES} base ranges")]
    BaseRanges,
    #[error("compressing at level {level}: {error}")]
    Compress { level: i32, error: io::Error },
    #[error("writing: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("manifest of {found} bytes, maximum {MAX_MANIFEST_LEN}")]
    ManifestLength { found: u64 },
    #[error("signing: {0}")]
    Sign(SealError),
}

// By hand: `#[from]` would make the cause a source too, and it would be printed twice.
impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
