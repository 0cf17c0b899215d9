//! The payload of a bundle as it grows, and the finished bundle around it.

use crate::create::error::CreateError;
use crate::format::cbor::Blob;
use crate::format::index::{BaseRange, ChunkEntry, ChunkKind, Index};
use crate::format::limits::{
    BLOCK_LEN, MAX_BASE_RANGES, MAX_CHUNK_LEN, MAX_CHUNKS, MAX_MANIFEST_LEN,
};
use crate::format::manifest::{ImageRole, IndexInfo, Manifest, ManifestError};
use crate::format::zeroes::zero_digests;
use crate::trust::keys::SecretKey;
use crate::verity::{Hash, Layout, TreeBuilder};
use seal::{ImageDigest, Link, SEAL_LEN, Seal, Statement, Text64, VerifiedRoot};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};

/// Where to write a bundle.
#[derive(Debug)]
pub struct BundleOutput<'a, S, W> {
    /// An empty file, for the payload until the head is known.
    pub spool: &'a mut S,
    /// Receives the bundle.
    pub out: &'a mut W,
}

/// A bundle that was created.
#[derive(Clone, Debug)]
pub struct Created {
    /// The statement, signed or to be signed.
    pub statement: Statement,
    /// Number of chunks.
    pub chunks: usize,
    /// Bytes of all images together.
    pub images_len: u64,
}

/// Fields of the statement that the manifest does not have.
#[derive(Clone)]
pub(crate) struct ReleasePolicy {
    /// Trust links in the bundle.
    pub(crate) links: Vec<Link>,
    pub(crate) key_epoch: u64,
    pub(crate) revoke: bool,
    pub(crate) watchdog: bool,
    pub(crate) root: Option<VerifiedRoot>,
}

/// Returns the statement of a manifest, without the lengths that are not known yet. *Pure.*
fn statement(policy: &ReleasePolicy, manifest: &Manifest) -> Result<Statement, CreateError> {
    let digest = |role| {
        let image = manifest.images.iter().find(|image| image.role == role);
        image.map_or(ImageDigest::NONE, |image| ImageDigest {
            len: image.size,
            sha256: image.sha256.0,
        })
    };
    let version = Text64::new(&manifest.version).ok_or_else(|| ManifestError::Name {
        name: "version",
        found: manifest.version.clone(),
    })?;
    Ok(Statement {
        version,
        rollback_index: manifest.rollback_index,
        key_epoch: policy.key_epoch,
        revoke: policy.revoke,
        watchdog: policy.watchdog,
        manifest: ImageDigest::NONE,
        boot: digest(ImageRole::Boot),
        recovery: digest(ImageRole::Recovery),
        root: policy.root,
        links: ImageDigest::NONE,
        bundle_len: 0,
    })
}

/// Returns length and SHA-256 of a section; none for an empty one. *Pure.*
fn digest_of(bytes: &[u8]) -> ImageDigest {
    if bytes.is_empty() {
        return ImageDigest::NONE;
    }
    ImageDigest {
        len: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    }
}

/// A chunk with content, encoded.
pub(crate) struct EncodedChunk {
    pub(crate) len: u32,
    /// [`ChunkKind::Zstd`] or [`ChunkKind::Raw`]; becomes a delta if there are base ranges.
    pub(crate) kind: ChunkKind,
    pub(crate) before: u32,
    pub(crate) sha256: [u8; 32],
    /// Hashes of its blocks; needed only if its image has a hash tree.
    pub(crate) blocks: Vec<Hash>,
    pub(crate) stored_digest: [u8; 16],
    pub(crate) stored: Vec<u8>,
    pub(crate) hints: Vec<u8>,
    pub(crate) ranges: Vec<BaseRange>,
}

/// Returns the digest of stored bytes for the index: the first half of their SHA-256, or, if they
/// are the chunk itself, of the chunk's digest. *Pure.*
pub(crate) fn stored_digest(kind: ChunkKind, bytes: &[u8], chunk: &Hash) -> [u8; 16] {
    match kind {
        ChunkKind::Raw => seal::field::get(chunk, 0),
        _ => seal::field::get(&Sha256::digest(bytes), 0),
    }
}

/// The payload as it grows, and its index.
pub(crate) struct Payload<'a, W> {
    spool: &'a mut W,
    index: Index,
    hints: Option<Vec<u8>>,
    len: u64,
    /// Number of the first chunk of the current image.
    image_start: usize,
    /// Zeroes not yet written as a chunk.
    zeroes: u64,
    /// Digests of zeroes by their length.
    zero_digests: HashMap<u32, [u8; 32]>,
    /// Chunks of the current image with stored bytes, by their digest.
    known: HashMap<[u8; 32], usize>,
    /// The hash tree of the current image, if it has one.
    tree: Option<GrowingTree>,
    verified_root: Option<VerifiedRoot>,
}

/// A hash tree whose blocks come in order. Only its root hash is part of the bundle.
struct GrowingTree {
    builder: TreeBuilder,
    /// Number of the next block.
    next: u64,
}

impl GrowingTree {
    fn new(image_len: u64) -> Self {
        Self {
            builder: TreeBuilder::new(Layout::new(image_len)),
            next: 0,
        }
    }

    fn add(&mut self, hashes: &[Hash]) {
        drop(self.builder.insert(self.next, hashes));
        self.next += hashes.len() as u64;
    }

    fn add_zeroes(&mut self, len: u32) {
        let count = u64::from(len.div_ceil(BLOCK_LEN));
        drop(self.builder.insert_zeroes(self.next, count));
        self.next += count;
    }

    /// Returns the root; `None` only if blocks are missing.
    fn finish(self) -> Option<VerifiedRoot> {
        let len = self.builder.layout().image_len();
        let (_, root_hash) = self.builder.finish().ok()?;
        Some(VerifiedRoot { len, root_hash })
    }
}

impl<'a, W: Write> Payload<'a, W> {
    /// Returns an empty payload of a bundle with block hints.
    pub(crate) fn with_hints(spool: &'a mut W) -> Self {
        Self {
            hints: Some(Vec::new()),
            ..Self::without_hints(spool)
        }
    }

    /// Returns an empty payload of a bundle without block hints.
    pub(crate) fn without_hints(spool: &'a mut W) -> Self {
        Self {
            spool,
            index: Index::default(),
            hints: None,
            len: 0,
            image_start: 0,
            zeroes: 0,
            zero_digests: HashMap::new(),
            known: HashMap::new(),
            tree: None,
            verified_root: None,
        }
    }

    /// Begins an image. `tree_over` is its length if it has a hash tree.
    pub(crate) fn begin_image(&mut self, tree_over: Option<u64>) {
        self.known.clear();
        self.tree = tree_over.map(GrowingTree::new);
        self.image_start = self.index.chunks.len();
    }

    /// Ends an image and returns how many chunks it has.
    pub(crate) fn end_image(&mut self) -> Result<u64, CreateError> {
        self.flush_zeroes()?;
        if let Some(tree) = self.tree.take() {
            self.verified_root = tree.finish();
        }
        Ok((self.index.chunks.len() - self.image_start) as u64)
    }

    /// Returns length and root hash of the image that has a hash tree.
    pub(crate) const fn verified_root(&self) -> Option<VerifiedRoot> {
        self.verified_root
    }

    /// Adds zeroes to the current image.
    pub(crate) fn add_zeroes(&mut self, len: u32) {
        self.zeroes += u64::from(len);
        if let Some(tree) = &mut self.tree {
            tree.add_zeroes(len);
        }
    }

    /// Adds the chunks of a run to the current image. *Writes* to the spool.
    pub(crate) fn add_run(&mut self, run: Vec<EncodedChunk>) -> Result<(), CreateError> {
        self.flush_zeroes()?;
        let alone = run.len() == 1;
        for chunk in run {
            if let Some(tree) = &mut self.tree {
                tree.add(&chunk.blocks);
            }
            match self.repeated_by(&chunk) {
                Some(earlier) if alone => {
                    let kind = ChunkKind::Repeat { chunk: earlier };
                    self.push_without_bytes(kind, chunk.len, chunk.sha256)?;
                }
                _ => self.add_chunk(chunk)?,
            }
        }
        Ok(())
    }

    /// Returns the number of an earlier chunk of the image with the same content.
    fn repeated_by(&self, chunk: &EncodedChunk) -> Option<usize> {
        let earlier = *self.known.get(&chunk.sha256)?;
        (self.index.chunks[earlier].len == chunk.len).then_some(earlier)
    }

    fn add_chunk(&mut self, chunk: EncodedChunk) -> Result<(), CreateError> {
        let number = self.index.chunks.len();
        self.known.insert(chunk.sha256, number);
        let kind = match chunk.ranges.len() {
            0 => chunk.kind,
            ranges => ChunkKind::Delta {
                first_range: self.index.ranges.len(),
                ranges,
            },
        };
        self.index.ranges.extend(chunk.ranges);
        if self.index.ranges.len() as u64 > MAX_BASE_RANGES {
            return Err(CreateError::BaseRanges);
        }
        self.push(ChunkEntry {
            kind,
            before: chunk.before,
            len: chunk.len,
            stored_len: chunk.stored.len() as u32,
            sha256: chunk.sha256,
            stored_digest: chunk.stored_digest,
            payload_offset: self.len,
            // These follow from the order of the entries; the index does not hold them.
            image: 0,
            offset: 0,
        })?;
        self.spool.write_all(&chunk.stored)?;
        if let Some(hints) = &mut self.hints {
            hints.extend_from_slice(&chunk.hints);
        }
        Ok(())
    }

    /// Adds the zeroes as chunks, as few as possible.
    fn flush_zeroes(&mut self) -> Result<(), CreateError> {
        while self.zeroes > 0 {
            let len = self.zeroes.min(u64::from(MAX_CHUNK_LEN)) as u32;
            let digest = || zero_digests([len].into()).remove(&len).unwrap_or_default();
            let sha256 = *self.zero_digests.entry(len).or_insert_with(digest);
            self.push_without_bytes(ChunkKind::Zero, len, sha256)?;
            self.zeroes -= u64::from(len);
        }
        Ok(())
    }

    fn push_without_bytes(
        &mut self,
        kind: ChunkKind,
        len: u32,
        sha256: [u8; 32],
    ) -> Result<(), CreateError> {
        self.push(ChunkEntry {
            kind,
            len,
            sha256,
            before: 0,
            stored_len: 0,
            stored_digest: [0; 16],
            payload_offset: self.len,
            image: 0,
            offset: 0,
        })
    }

    fn push(&mut self, entry: ChunkEntry) -> Result<(), CreateError> {
        if self.index.chunks.len() as u64 == MAX_CHUNKS {
            return Err(CreateError::Chunks);
        }
        self.len += u64::from(entry.stored_len);
        self.index.chunks.push(entry);
        Ok(())
    }
}

impl<W: Read + Write + Seek> Payload<'_, W> {
    /// Completes `manifest` with index, payload and hints, signs it and writes the bundle. *Reads*
    /// the spool and *writes* to `out`.
    pub(crate) fn finish(
        self,
        manifest: Manifest,
        policy: ReleasePolicy,
        keys: &[SecretKey],
        out: &mut impl Write,
    ) -> Result<Created, CreateError> {
        let index_bytes = self.index.encode();
        let manifest = Manifest {
            hints: self
                .hints
                .as_ref()
                .map(|hints| Blob(Sha256::digest(hints).into())),
            index: IndexInfo {
                chunks: self.index.chunks.len() as u64,
                ranges: self.index.ranges.len() as u64,
                sha256: Blob(Sha256::digest(&index_bytes).into()),
            },
            payload: self.len,
            ..manifest
        };
        let hints = self.hints.unwrap_or_default();
        let manifest_bytes = manifest.encode()?;
        let found = manifest_bytes.len() as u64;
        if found > MAX_MANIFEST_LEN {
            return Err(CreateError::ManifestLength { found });
        }
        let links: Vec<u8> = policy
            .links
            .iter()
            .flat_map(Link::as_bytes)
            .copied()
            .collect();
        let statement = Statement {
            links: digest_of(&links),
            bundle_len: SEAL_LEN as u64
                + links.len() as u64
                + found
                + index_bytes.len() as u64
                + self.len
                + hints.len() as u64,
            manifest: digest_of(&manifest_bytes),
            ..statement(&policy, &manifest)?
        };
        let mut seal = Seal::new(&statement);
        keys.iter()
            .try_for_each(|key| key.sign_seal(&mut seal))
            .map_err(CreateError::Sign)?;
        out.write_all(seal.as_bytes())?;
        out.write_all(&links)?;
        out.write_all(&manifest_bytes)?;
        out.write_all(&index_bytes)?;
        self.spool.rewind()?;
        io::copy(self.spool, out)?;
        out.write_all(&hints)?;
        out.flush()?;
        Ok(Created {
            statement,
            chunks: self.index.chunks.len(),
            images_len: manifest.images.iter().map(|image| image.size).sum(),
        })
    }
}
