//! A release as its head describes it.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::hint::{hint_count, hints_len};
use crate::format::index::{BaseRange, ChunkEntry, ChunkKind, Index};
use crate::format::limits::HINT_LEN;
use crate::format::manifest::{ImageRole, Manifest};
use crate::read::error::ReadError;
use seal::{ImageDigest, Link, SEAL_LEN, Seal, Statement};
use std::ops::Range;

/// A release: seal, manifest and index, which agree with each other.
///
/// It is authenticated, unless the caller skipped verification: [`Release::is_verified`].
#[derive(Clone, Debug)]
pub struct Release {
    seal: Seal,
    statement: Statement,
    links: Vec<Link>,
    manifest: Manifest,
    images: Vec<Image>,
    index: Index,
    payload: Range<u64>,
    hints: Range<u64>,
    verified: bool,
}

/// The sections of a head that signatures cover.
pub(crate) struct SignedHead {
    pub(crate) seal: Seal,
    pub(crate) statement: Statement,
    pub(crate) links: Vec<Link>,
    pub(crate) manifest: Manifest,
}

/// An image of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Purpose of the image.
    pub role: ImageRole,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the whole image.
    pub sha256: [u8; 32],
    /// Maximum length of a chunk with content, in bytes.
    pub chunk_size: u32,
    /// Numbers of its chunks in [`Release::chunks`].
    pub chunks: Range<usize>,
}

impl Release {
    /// Puts the sections together and checks that they agree. *Pure.*
    pub(crate) fn new(head: SignedHead, index: Index, verified: bool) -> Result<Self, ReadError> {
        let SignedHead {
            seal,
            statement,
            links,
            manifest,
        } = head;
        check_agreement(&statement, &manifest)?;
        let mut first = 0_usize;
        let images = manifest.images.iter().map(|image| {
            let chunks =
                first..first.saturating_add(usize::try_from(image.chunks).unwrap_or(usize::MAX));
            first = chunks.end;
            let (role, size, sha256) = (image.role, image.size, image.sha256.0);
            Image {
                role,
                size,
                sha256,
                chunk_size: image.chunk_size,
                chunks,
            }
        });
        let images = images.collect();
        let hints_len = if manifest.hints.is_some() {
            hints_len(&index.chunks)
        } else {
            0
        };
        let head = index_range(&statement, &manifest)
            .ok_or(ReadError::Overflow)?
            .end;
        let payload = head..head
            .checked_add(manifest.payload)
            .ok_or(ReadError::Overflow)?;
        let hints = payload.end
            ..payload
                .end
                .checked_add(hints_len)
                .ok_or(ReadError::Overflow)?;
        if hints.end != statement.bundle_len {
            return Err(ReadError::BundleLength {
                signed: statement.bundle_len,
                parts: hints.end,
            });
        }
        Ok(Self {
            seal,
            statement,
            links,
            manifest,
            images,
            index,
            payload,
            hints,
            verified,
        })
    }

    /// Returns the seal, as it is written to a boot partition.
    #[must_use]
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Returns the signed statement.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Returns the trust links of the bundle, in their order.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Returns the manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the images, in payload order.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Returns the image with this role.
    #[must_use]
    pub fn image(&self, role: ImageRole) -> Option<&Image> {
        self.images.iter().find(|image| image.role == role)
    }

    /// Returns the chunks of all images, in payload order.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.index.chunks
    }

    /// Returns chunk `number`.
    #[must_use]
    pub fn chunk(&self, number: usize) -> Option<&ChunkEntry> {
        self.index.chunks.get(number)
    }

    /// Returns the numbers of the chunks of the run that chunk `number` belongs to. *Pure.* They
    /// are decoded in order, as one unit, because each refers to those before it. Often a single
    /// chunk; empty if there is no such chunk. Maximum [`MAX_RUN_LEN`](crate::limits::MAX_RUN_LEN)
    /// bytes, uncompressed.
    #[must_use]
    pub fn run_of(&self, number: usize) -> Range<usize> {
        let chunks = self.chunks();
        let begins = |chunk: &ChunkEntry| chunk.before == 0;
        let Some((upto, after)) = chunks.split_at_checked(number.saturating_add(1)) else {
            return number..number;
        };
        let start = upto.iter().rposition(begins).unwrap_or(number);
        let more = after.iter().position(begins).unwrap_or(after.len());
        start..upto.len().saturating_add(more)
    }

    /// Returns the ranges of the base release that a chunk refers to, in order; none unless it is a
    /// delta.
    #[must_use]
    pub fn base_ranges(&self, chunk: &ChunkEntry) -> &[BaseRange] {
        match chunk.kind {
            ChunkKind::Delta {
                first_range,
                ranges,
            } => self
                .index
                .ranges
                .get(first_range..first_range.saturating_add(ranges))
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// Returns the range of the stored bytes of a chunk in the bundle file.
    #[must_use]
    pub fn file_range(&self, chunk: &ChunkEntry) -> Range<u64> {
        let start = self.payload.start.saturating_add(chunk.payload_offset);
        start..start.saturating_add(u64::from(chunk.stored_len))
    }

    /// Returns the range of the payload in the bundle file.
    #[must_use]
    pub const fn payload_range(&self) -> &Range<u64> {
        &self.payload
    }

    /// Returns the range of the block hints in the bundle file; empty if there are none.
    ///
    /// They hold a [`block_hint`](crate::block_hint) for each 4096 bytes of each chunk that has
    /// stored bytes, in order; a last block may be shorter. They only help to find blocks on a
    /// disk: a chunk that is made of these blocks is checked against its SHA-256.
    #[must_use]
    pub const fn hints_range(&self) -> &Range<u64> {
        &self.hints
    }

    /// Returns the range of the hints of chunk `number` in the bundle file; `None` if it has none.
    /// Takes time proportional to `number`: to look at many chunks, add up
    /// [`hint_count`] instead.
    #[must_use]
    pub fn chunk_hints(&self, number: usize) -> Option<Range<u64>> {
        if self.hints.is_empty() {
            return None;
        }
        let own = hint_count(self.chunk(number)?).saturating_mul(HINT_LEN);
        let start = self
            .hints
            .start
            .saturating_add(hints_len(self.index.chunks.get(..number)?));
        (own > 0).then(|| start..start.saturating_add(own))
    }

    /// Returns true if the signatures were verified.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.verified
    }
}

/// Returns the range of the index in the bundle file.
pub(crate) fn index_range(statement: &Statement, manifest: &Manifest) -> Option<Range<u64>> {
    let start = (SEAL_LEN as u64)
        .checked_add(statement.links.len)?
        .checked_add(statement.manifest.len)?;
    Some(
        start
            ..start.checked_add(Index::encoded_len(
                manifest.index.chunks,
                manifest.index.ranges,
            )?)?,
    )
}

/// Checks that statement and manifest agree. The guard sees only the statement, the updater sees
/// both.
pub(crate) fn check_agreement(statement: &Statement, manifest: &Manifest) -> Result<(), ReadError> {
    let disagree = |what, signed: String, found: String| {
        Err(ReadError::Disagree {
            what,
            signed,
            found,
        })
    };
    if statement.version.as_str() != manifest.version {
        return disagree(
            "version",
            statement.version.to_string(),
            manifest.version.clone(),
        );
    }
    let (signed, found) = (statement.rollback_index, manifest.rollback_index);
    if signed != found {
        return disagree("rollback index", signed.to_string(), found.to_string());
    }
    for (what, role, signed) in [
        ("boot image", ImageRole::Boot, statement.boot),
        ("recovery image", ImageRole::Recovery, statement.recovery),
    ] {
        let found = manifest.images.iter().find(|image| image.role == role);
        let found = found.map_or(ImageDigest::NONE, |image| ImageDigest {
            len: image.size,
            sha256: image.sha256.0,
        });
        if signed != found {
            return disagree(what, describe(&signed), describe(&found));
        }
    }
    let found = manifest
        .images
        .iter()
        .find(|image| image.role == ImageRole::Root);
    let found = found.map_or(0, |image| image.size);
    match statement.root {
        Some(root) if root.len != found => disagree(
            "verified root image",
            format!("{} bytes", root.len),
            format!("{found} bytes"),
        ),
        _ => Ok(()),
    }
}

fn describe(image: &ImageDigest) -> String {
    if *image == ImageDigest::NONE {
        return "none".to_owned();
    }
    format!("{} bytes, {}", image.len, crate::hex::hex(&image.sha256))
}
