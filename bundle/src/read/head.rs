//! The head of a bundle, seal, manifest and index, as it comes: a parser that reads nothing by
//! itself.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::index::Index;
use crate::format::limits::MAX_MANIFEST_LEN;
use crate::format::manifest::Manifest;
use crate::read::error::ReadError;
use crate::read::release::{Release, check_agreement, index_range};
use seal::{Purpose, SEAL_LEN, Seal, Statement, Trust, VerifyError};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Takes the first bytes of a bundle in pieces of any size, until the release is known.
///
/// Order of checks: seal (structure, CRC), signatures, statement; then the manifest's length,
/// digest, encoding and fields, and that it agrees with the statement; then the index's length,
/// digest and entries. Nothing is parsed before it is authenticated. Memory: what has been fed of
/// the present part, so at most [`MAX_MANIFEST_LEN`] or an index of [`crate::format::limits::MAX_CHUNKS`].
#[derive(Debug)]
pub struct HeadParser {
    access: Access,
    part: Part,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Access {
    Verify(Box<Trust>, Purpose),
    Unverified,
}

#[derive(Debug)]
enum Part {
    Seal,
    Manifest(Box<(Seal, Statement)>),
    Index(Box<(Seal, Statement, Manifest)>, usize),
    Done(Arc<Release>),
}

impl HeadParser {
    /// A parser that accepts a release signed as `trust` asks for `purpose`.
    #[must_use]
    pub fn new(trust: &Trust, purpose: Purpose) -> Self {
        Self::with(Access::Verify(Box::new(trust.clone()), purpose))
    }

    /// A parser that checks everything but the signatures: for showing a bundle to a person, and
    /// for signing it.
    #[must_use]
    pub fn without_verifying() -> Self {
        Self::with(Access::Unverified)
    }

    fn with(access: Access) -> Self {
        Self {
            access,
            part: Part::Seal,
            buffer: Vec::new(),
        }
    }

    /// How many bytes are needed to finish the present part; 0 once the release is known.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.part_len().saturating_sub(self.buffer.len())
    }

    /// The release, once it is known.
    #[must_use]
    pub const fn release(&self) -> Option<&Arc<Release>> {
        match &self.part {
            Part::Done(release) => Some(release),
            _ => None,
        }
    }

    /// Takes the next bytes of the file and returns how many of them belong to the head: fewer than
    /// given only when the release is known. *Pure.*
    ///
    /// # Errors
    /// The first [`ReadError`], after which the parser must not be fed again.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, ReadError> {
        let mut rest = bytes;
        while self.release().is_none() {
            let (taken, left) = rest.split_at(self.missing().min(rest.len()));
            self.buffer.extend_from_slice(taken);
            rest = left;
            if self.missing() > 0 {
                break;
            }
            self.finish_part()?;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// The error for a source that ends now.
    #[must_use]
    pub fn truncated(&self) -> ReadError {
        let what = match self.part {
            Part::Seal => "seal",
            Part::Manifest(_) => "manifest",
            Part::Index(..) => "index",
            Part::Done(_) => "payload",
        };
        ReadError::Truncated {
            what,
            found: self.buffer.len() as u64,
            expected: self.part_len() as u64,
        }
    }

    fn part_len(&self) -> usize {
        match &self.part {
            Part::Seal => SEAL_LEN,
            // Bounded by MAX_MANIFEST_LEN when the part was entered.
            Part::Manifest(parts) => usize::try_from(parts.1.manifest.len).unwrap_or(usize::MAX),
            Part::Index(_, len) => *len,
            Part::Done(_) => 0,
        }
    }

    fn finish_part(&mut self) -> Result<(), ReadError> {
        let bytes = std::mem::take(&mut self.buffer);
        let part = std::mem::replace(&mut self.part, Part::Seal);
        self.part = match part {
            Part::Seal => self.finish_seal(&bytes)?,
            Part::Manifest(parts) => finish_manifest(*parts, &bytes)?,
            Part::Index(parts, _) => self.finish_index(*parts, &bytes)?,
            done @ Part::Done(_) => done,
        };
        Ok(())
    }

    fn finish_seal(&self, bytes: &[u8]) -> Result<Part, ReadError> {
        let bytes: &[u8; SEAL_LEN] = bytes.try_into().map_err(|_| self.truncated())?;
        let seal = Seal::from_bytes(bytes)?;
        let statement = match &self.access {
            Access::Verify(trust, purpose) => seal.verify(trust, *purpose)?,
            Access::Unverified => seal
                .unverified_statement()
                .map_err(VerifyError::Statement)?,
        };
        let found = statement.manifest.len;
        if found == 0 || found > MAX_MANIFEST_LEN {
            return Err(ReadError::ManifestLength { found });
        }
        Ok(Part::Manifest(Box::new((seal, statement))))
    }

    fn finish_index(
        &self,
        parts: (Seal, Statement, Manifest),
        bytes: &[u8],
    ) -> Result<Part, ReadError> {
        let (seal, statement, manifest) = parts;
        check_digest("index", bytes, &manifest.index.sha256.0)?;
        let index = Index::decode(bytes, &manifest)?;
        let verified = matches!(self.access, Access::Verify(..));
        Ok(Part::Done(Arc::new(Release::new(
            seal, statement, manifest, index, verified,
        )?)))
    }
}

fn finish_manifest((seal, statement): (Seal, Statement), bytes: &[u8]) -> Result<Part, ReadError> {
    check_digest("manifest", bytes, &statement.manifest.sha256)?;
    let manifest = Manifest::decode(bytes)?;
    check_agreement(&statement, &manifest)?;
    let index = index_range(&statement, &manifest).ok_or(ReadError::Overflow)?;
    let len = index.end.saturating_sub(index.start);
    // Also bounds the index by the length that was signed, before a byte of it is buffered.
    if index.end > statement.bundle_len {
        return Err(ReadError::BundleLength {
            signed: statement.bundle_len,
            parts: index.end,
        });
    }
    let len = usize::try_from(len).map_err(|_| ReadError::Overflow)?;
    Ok(Part::Index(Box::new((seal, statement, manifest)), len))
}

fn check_digest(what: &'static str, bytes: &[u8], expected: &[u8; 32]) -> Result<(), ReadError> {
    let found: [u8; 32] = Sha256::digest(bytes).into();
    if found == *expected {
        Ok(())
    } else {
        Err(ReadError::Digest {
            what,
            expected: *expected,
            found,
        })
    }
}
