//! Errors of checking and extracting a bundle.

use crate::format::manifest::ImageRole;
use crate::hex::hex;
use crate::read::error::{DecodeError, ReadError};
use crate::verity::Hash;
use std::io;

/// Reasons why a bundle cannot be checked or extracted.
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
    #[error("delta bundle: needs release {0} as its base (--base)")]
    Delta(String),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error("writing: {0}")]
    Output(io::Error),
}

impl OpenError {
    /// Returns true if the bundle is refused, false if something around it failed. *Pure.*
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

/// Reasons why a release is not the base of a delta bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum BaseError {
    #[error("not a delta bundle: it has no base")]
    NotADelta,
    #[error("delta based on release {expected}, the given base is release {found}")]
    Version { expected: String, found: String },
    #[error("delta based on release {version}: the given base has no image {image}")]
    Missing { version: String, image: ImageRole },
    #[error(
        "delta based on release {version}: image {image} of the given base has SHA-256 {}, expected {}",
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
