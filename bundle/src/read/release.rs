//! A release as its seal, manifest and index describe it.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::hint::{hint_count, hints_len};
use crate::format::index::{BaseRange, ChunkEntry, ChunkKind, Index};
use crate::format::limits::HINT_LEN;
#[cfg(doc)]
use crate::format::limits::MAX_RUN_LEN;
use crate::format::manifest::{ImageRole, Manifest};
use crate::read::error::ReadError;
use seal::{ImageDigest, SEAL_LEN, Seal, Statement};
use std::ops::Range;

/// A release whose seal, manifest and index have been read, and hold together.
///
/// It is authenticated, unless it was read without verifying on a person's explicit wish:
/// [`Release::is_verified`].
#[derive(Clone, Debug)]
pub struct Release {
    seal: Seal,
    statement: Statement,
    manifest: Manifest,
    images: Vec<Image>,
    index: Index,
    payload: Range<u64>,
    hints: Range<u64>,
    verified: bool,
}

/// An image of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is for.
    pub role: ImageRole,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole image.
    pub sha256: [u8; 32],
    /// Longest chunk that is not zeroes, in bytes.
    pub chunk_size: u32,
    /// Its chunks in [`Release::chunks`].
    pub chunks: Range<usize>,
}

impl Release {
    /// Puts the parts together and checks that they say the same. *Pure.*
    pub(crate) fn new(
        seal: Seal,
        statement: Statement,
        manifest: Manifest,
        index: Index,
        verified: bool,
    ) -> Result<Self, ReadError> {
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
            manifest,
            images,
            index,
            payload,
            hints,
            verified,
        })
    }

    /// The seal, as it goes into a boot partition.
    #[must_use]
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The signed statement.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The images, in payload order.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The image of a role.
    #[must_use]
    pub fn image(&self, role: ImageRole) -> Option<&Image> {
        self.images.iter().find(|image| image.role == role)
    }

    /// The chunks of all images, in payload order.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.index.chunks
    }

    /// Chunk `number`.
    #[must_use]
    pub fn chunk(&self, number: usize) -> Option<&ChunkEntry> {
        self.index.chunks.get(number)
    }

    /// The run that chunk `number` belongs to: chunks that are decoded in order, as one unit, since
    /// each builds upon those before it. *Pure.* Often a single frame; empty if there is no such
    /// chunk; together at most [`MAX_RUN_LEN`](crate::format::limits::MAX_RUN_LEN) bytes, uncompressed.
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

    /// The pieces of the base release that make up the prefix of a chunk, in order; none unless it
    /// is a delta.
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

    /// Where the stored bytes of a chunk lie in the bundle file.
    #[must_use]
    pub fn file_range(&self, chunk: &ChunkEntry) -> Range<u64> {
        let start = self.payload.start.saturating_add(chunk.payload_offset);
        start..start.saturating_add(u64::from(chunk.stored_len))
    }

    /// Where the payload lies in the bundle file.
    #[must_use]
    pub const fn payload_range(&self) -> &Range<u64> {
        &self.payload
    }

    /// Where the block hints lie in the bundle file; empty if there are none.
    ///
    /// They hold a [`block_hint`](crate::block_hint) for each 4096 bytes of each chunk that has
    /// stored bytes, in order; a last block may be shorter. They help to find blocks on a disk, and
    /// are believed by nobody: what is found is checked against the chunk's SHA-256.
    #[must_use]
    pub const fn hints_range(&self) -> &Range<u64> {
        &self.hints
    }

    /// Where the hints of chunk `number` lie in the bundle file; `None` if it has none. Costs a
    /// walk over the chunks before it: to look at many, count along with
    /// [`hint_count`](crate::format::hint_count).
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

    /// Whether the signatures were verified. Only a person's explicit wish makes a release that is
    /// not.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.verified
    }
}

/// Where the index lies in the bundle file.
pub(crate) fn index_range(statement: &Statement, manifest: &Manifest) -> Option<Range<u64>> {
    let start = (SEAL_LEN as u64).checked_add(statement.manifest.len)?;
    Some(
        start
            ..start.checked_add(Index::encoded_len(
                manifest.index.chunks,
                manifest.index.ranges,
            )?)?,
    )
}

/// The statement and the manifest must agree in whatever both say: the guard sees the one, the
/// updater both.
pub(crate) fn check_agreement(statement: &Statement, manifest: &Manifest) -> Result<(), ReadError> {
    let differs = |what, signed: String, found: String| {
        Err(ReadError::Disagree {
            what,
            signed,
            found,
        })
    };
    if statement.version.as_str() != manifest.version {
        return differs(
            "version",
            statement.version.to_string(),
            manifest.version.clone(),
        );
    }
    let (signed, found) = (statement.rollback_index, manifest.rollback_index);
    if signed != found {
        return differs("rollback index", signed.to_string(), found.to_string());
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
            return differs(what, describe(&signed), describe(&found));
        }
    }
    let found = manifest
        .images
        .iter()
        .find(|image| image.role == ImageRole::Root);
    let found = found.map_or(0, |image| image.size);
    match statement.root {
        Some(root) if root.len != found => differs(
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
