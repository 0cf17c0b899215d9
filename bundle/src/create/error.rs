//! Why a bundle cannot be created.

use crate::format::limits::{MAX_CHUNKS, MAX_MANIFEST_LEN};
use crate::format::manifest::{ImageRole, ManifestError};
use seal::SealError;
use std::io;
use std::path::PathBuf;

/// Why a bundle cannot be made.
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
    #[error("compressing at level {level}: {error}")]
    Compress { level: i32, error: io::Error },
    #[error("writing: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("manifest of {found} bytes, at most {MAX_MANIFEST_LEN}")]
    ManifestLength { found: u64 },
    #[error("signing: {0}")]
    Sign(SealError),
}

// Written out, so that the cause is part of the message and not a source that would be told twice.
impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
