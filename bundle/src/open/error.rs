//! Why a bundle cannot be opened, checked or extracted.

use crate::format::manifest::ImageRole;
use crate::hex::hex;
use crate::read::error::{DecodeError, ReadError};
use crate::verity::Hash;
use std::io;

/// Why opening a bundle ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(
        "image {image}: digest mismatch: expected {}, got {}",
        hex(expected),
        hex(found)
    )]
    ImageDigest {
        image: ImageRole,
        expected: [u8; 32],
        found: [u8; 32],
    },
    #[error(
        "root image: root hash mismatch: expected {}, got {}",
        hex(expected),
        hex(found)
    )]
    RootHash { expected: Hash, found: Hash },
    #[error("release has no image {0}")]
    NoImage(ImageRole),
    #[error(
        "delta bundle: its chunks build upon release {0}, and cannot be opened without it (--base)"
    )]
    Delta(String),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error("writing: {0}")]
    Output(io::Error),
}

impl OpenError {
    /// Whether the bundle is refused (true), or something around it failed (false).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Read(error) => error.is_refusal(),
            Self::Decode(_) | Self::ImageDigest { .. } | Self::RootHash { .. } | Self::Base(_) => {
                true
            }
            Self::NoImage(_) | Self::Delta(_) | Self::Output(_) => false,
        }
    }
}

/// Images are not those that a delta bundle builds upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum BaseError {
    #[error("not a delta bundle: it needs no base")]
    NotADelta,
    #[error("delta to release {expected}: the base given is release {found}")]
    Version { expected: String, found: String },
    #[error("delta to release {version}: the base given has no image {image}")]
    Missing { version: String, image: ImageRole },
    #[error(
        "delta to release {version}: image {image} of the base given has SHA-256 {}, expected {}",
        hex(found),
        hex(expected)
    )]
    Image {
        version: String,
        image: ImageRole,
        found: [u8; 32],
        expected: [u8; 32],
    },
}
