//! Parser of the head of a bundle: seal, manifest and index. It takes bytes and reads nothing by
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
use crate::read::release::{Release, SignedHead, check_agreement, index_range};
use seal::{
    LINK_LEN, Link, MAX_LINKS, Purpose, SEAL_LEN, Seal, Statement, Trust, TrustChain, VerifyError,
    parse_links,
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Parses the first bytes of a bundle, in pieces of any size, until the release is known.
///
/// Order of checks: seal (structure, CRC); trust links (length, digest, signatures); signatures,
/// statement; then the manifest's length, digest, encoding and fields, and that it agrees with the
/// statement; then the index's length, digest and entries. Nothing is parsed before it is
/// authenticated, except the fixed fields of statement and links.
///
/// Memory: the bytes of the current section, so at most [`MAX_LINKS`] links,
/// [`MAX_MANIFEST_LEN`] or an index of
/// [`MAX_CHUNKS`](crate::limits::MAX_CHUNKS) entries.
#[derive(Debug)]
pub struct HeadParser {
    signatures: Signatures,
    section: Section,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Signatures {
    Verify(Box<TrustChain>, Purpose),
    Ignore,
}

/// The section that is being read, with the sections before it.
#[derive(Debug)]
enum Section {
    Seal,
    Links(Box<Seal>, usize),
    Manifest(Box<Sealed>),
    Index(Box<Described>),
    Done(Arc<Release>),
}

#[derive(Debug)]
struct Sealed {
    seal: Seal,
    statement: Statement,
    links: Vec<Link>,
}

#[derive(Debug)]
struct Described {
    sealed: Sealed,
    manifest: Manifest,
    /// Length of the index in bytes.
    index_len: usize,
}

impl HeadParser {
    /// Returns a parser that accepts a release if `trust` accepts its signatures for `purpose`.
    #[must_use]
    pub fn new(trust: &Trust, purpose: Purpose) -> Self {
        Self::following(TrustChain::from(trust), purpose)
    }

    /// Returns a parser that follows the trust links of the bundle from `chain`, and accepts a
    /// release if that chain then accepts its signatures for `purpose`.
    #[must_use]
    pub fn following(chain: TrustChain, purpose: Purpose) -> Self {
        Self::with(Signatures::Verify(Box::new(chain), purpose))
    }

    /// Returns a parser that checks everything but the signatures: for showing a bundle to a
    /// person, and for signing it.
    #[must_use]
    pub fn without_verifying() -> Self {
        Self::with(Signatures::Ignore)
    }

    const fn with(signatures: Signatures) -> Self {
        Self {
            signatures,
            section: Section::Seal,
            buffer: Vec::new(),
        }
    }

    /// Returns how many bytes the current section still needs; 0 once the release is known.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.section_len().saturating_sub(self.buffer.len())
    }

    /// Returns the release, once it is known.
    #[must_use]
    pub const fn release(&self) -> Option<&Arc<Release>> {
        match &self.section {
            Section::Done(release) => Some(release),
            _ => None,
        }
    }

    /// Parses the next bytes of the file and returns how many of them belong to the head: fewer
    /// than given only if the release is known then. *Pure.*
    ///
    /// # Errors
    /// The first [`ReadError`]. The parser must not be used after it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, ReadError> {
        let mut rest = bytes;
        while self.release().is_none() {
            let (taken, left) = rest.split_at(self.missing().min(rest.len()));
            self.buffer.extend_from_slice(taken);
            rest = left;
            if self.missing() > 0 {
                break;
            }
            self.finish_section()?;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// Returns the error for a source that ends here. *Pure.*
    #[must_use]
    pub fn truncated(&self) -> ReadError {
        let what = match self.section {
            Section::Seal => "seal",
            Section::Links(..) => "trust links",
            Section::Manifest(_) => "manifest",
            Section::Index(_) => "index",
            Section::Done(_) => "payload",
        };
        ReadError::Truncated {
            what,
            found: self.buffer.len() as u64,
            expected: self.section_len() as u64,
        }
    }

    fn section_len(&self) -> usize {
        match &self.section {
            Section::Seal => SEAL_LEN,
            Section::Links(_, len) => *len,
            // Bounded by MAX_MANIFEST_LEN in `finish_seal`.
            Section::Manifest(sealed) => {
                usize::try_from(sealed.statement.manifest.len).unwrap_or(usize::MAX)
            }
            Section::Index(described) => described.index_len,
            Section::Done(_) => 0,
        }
    }

    fn finish_section(&mut self) -> Result<(), ReadError> {
        let bytes = std::mem::take(&mut self.buffer);
        let section = std::mem::replace(&mut self.section, Section::Seal);
        self.section = match section {
            Section::Seal => {
                let bytes: &[u8; SEAL_LEN] =
                    bytes.as_slice().try_into().map_err(|_| self.truncated())?;
                let seal = Seal::from_bytes(bytes)?;
                match links_len(&seal)? {
                    0 => Section::Manifest(Box::new(self.finish_seal(seal, &[])?)),
                    len => Section::Links(Box::new(seal), len),
                }
            }
            Section::Links(seal, _) => {
                Section::Manifest(Box::new(self.finish_seal(*seal, &bytes)?))
            }
            Section::Manifest(sealed) => {
                Section::Index(Box::new(finish_manifest(*sealed, &bytes)?))
            }
            Section::Index(described) => {
                Section::Done(Arc::new(self.finish_index(*described, &bytes)?))
            }
            done @ Section::Done(_) => done,
        };
        Ok(())
    }

    fn finish_seal(&mut self, seal: Seal, bytes: &[u8]) -> Result<Sealed, ReadError> {
        let links = parse_links(bytes)?;
        let statement = match &mut self.signatures {
            Signatures::Verify(chain, purpose) => {
                chain.follow(&links)?;
                chain.verify(&seal, *purpose)?
            }
            Signatures::Ignore => seal
                .unverified_statement()
                .map_err(VerifyError::Statement)?,
        };
        let found = statement.manifest.len;
        if found == 0 || found > MAX_MANIFEST_LEN {
            return Err(ReadError::ManifestLength { found });
        }
        if !links.is_empty() {
            check_digest("trust links", bytes, &statement.links.sha256)?;
        }
        Ok(Sealed {
            seal,
            statement,
            links,
        })
    }

    fn finish_index(&self, described: Described, bytes: &[u8]) -> Result<Release, ReadError> {
        let Described {
            sealed, manifest, ..
        } = described;
        check_digest("index", bytes, &manifest.index.sha256.0)?;
        let index = Index::decode(bytes, &manifest)?;
        let verified = matches!(self.signatures, Signatures::Verify(..));
        let head = SignedHead {
            seal: sealed.seal,
            statement: sealed.statement,
            links: sealed.links,
            manifest,
        };
        Release::new(head, index, verified)
    }
}

/// Returns the length of the trust links behind a seal that is not verified yet. *Pure.*
fn links_len(seal: &Seal) -> Result<usize, ReadError> {
    // A malformed statement is refused when its signatures are verified.
    let found = seal
        .unverified_statement()
        .map_or(0, |statement| statement.links.len);
    let max = MAX_LINKS.saturating_mul(LINK_LEN);
    match usize::try_from(found) {
        Ok(len) if len <= max && len.is_multiple_of(LINK_LEN) => Ok(len),
        _ => Err(ReadError::LinksLength { found }),
    }
}

fn finish_manifest(sealed: Sealed, bytes: &[u8]) -> Result<Described, ReadError> {
    let statement = &sealed.statement;
    check_digest("manifest", bytes, &statement.manifest.sha256)?;
    let manifest = Manifest::decode(bytes)?;
    check_agreement(statement, &manifest)?;
    let index = index_range(statement, &manifest).ok_or(ReadError::Overflow)?;
    // Bounds the index by the signed length before a byte of it is buffered.
    if index.end > statement.bundle_len {
        return Err(ReadError::BundleLength {
            signed: statement.bundle_len,
            parts: index.end,
        });
    }
    let index_len = index.end.saturating_sub(index.start);
    let index_len = usize::try_from(index_len).map_err(|_| ReadError::Overflow)?;
    Ok(Described {
        sealed,
        manifest,
        index_len,
    })
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
