//! The payload of a bundle as it grows, and the head that is made of it.

use crate::create::error::CreateError;
use crate::format::cbor::Blob;
use crate::format::index::{BaseRange, ChunkEntry, ChunkKind, Index};
use crate::format::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_CHUNKS, MAX_MANIFEST_LEN};
use crate::format::manifest::{ImageRole, IndexInfo, Manifest, ManifestError};
use crate::format::zeroes::zero_digests;
use crate::trust::keys::SecretKey;
use crate::verity::{Hash, Layout, TreeBuilder};
use seal::{ImageDigest, SEAL_LEN, Seal, Statement, Text64, VerifiedRoot};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};

/// What was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The statement that was signed, or is to be.
    pub statement: Statement,
    /// Number of chunks.
    pub chunks: usize,
    /// Bytes of all images together.
    pub images_len: u64,
}

/// What a statement says besides the manifest.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) key_epoch: u64,
    pub(crate) revoke: bool,
    pub(crate) watchdog: bool,
    pub(crate) root: Option<VerifiedRoot>,
}

/// The statement of a manifest, but for the lengths that are not known yet.
fn statement(terms: Terms, manifest: &Manifest) -> Result<Statement, CreateError> {
    let digest = |role| {
        let image = manifest.images.iter().find(|image| image.role == role);
        image.map_or(ImageDigest::NONE, |image| ImageDigest {
            len: image.size,
            sha256: image.sha256.0,
        })
    };
    let name = || ManifestError::Name {
        name: "version",
        found: manifest.version.clone(),
    };
    Ok(Statement {
        version: Text64::new(&manifest.version).ok_or_else(name)?,
        rollback_index: manifest.rollback_index,
        key_epoch: terms.key_epoch,
        revoke: terms.revoke,
        watchdog: terms.watchdog,
        manifest: ImageDigest::NONE,
        boot: digest(ImageRole::Boot),
        recovery: digest(ImageRole::Recovery),
        root: terms.root,
        bundle_len: 0,
    })
}

/// A chunk with content.
pub(crate) struct Chunk {
    pub(crate) len: u32,
    /// How it is stored; that of a delta is completed when it is added.
    pub(crate) kind: ChunkKind,
    pub(crate) before: u32,
    pub(crate) sha256: [u8; 32],
    /// Hashes of its blocks, if its image is to have a root hash.
    pub(crate) blocks: Vec<Hash>,
    pub(crate) stored_digest: [u8; 16],
    pub(crate) bytes: Vec<u8>,
    pub(crate) hints: Vec<u8>,
    /// What a delta builds upon.
    pub(crate) ranges: Vec<BaseRange>,
}

/// What the index says of stored bytes: the first half of their SHA-256, or of the chunk's digest
/// if they are the chunk itself.
pub(crate) fn stored_digest(kind: ChunkKind, bytes: &[u8], chunk: &Hash) -> [u8; 16] {
    match kind {
        ChunkKind::Raw => seal::field::get(chunk, 0),
        _ => seal::field::get(&Sha256::digest(bytes), 0),
    }
}

/// The payload as it grows, and its index.
pub(crate) struct Payload<'a, W> {
    spool: &'a mut W,
    pub(crate) index: Index,
    pub(crate) hints: Vec<u8>,
    len: u64,
    /// Zeroes not yet written as a chunk.
    pub(crate) zeroes: u64,
    /// Digests of zeroes by their length.
    zero_digests: HashMap<u32, [u8; 32]>,
    /// Chunks of the present image with stored bytes, by their digest.
    known: HashMap<[u8; 32], usize>,
    /// The hash tree of the present image, if it gets one, and the blocks that it has so far.
    tree: Option<(u64, TreeBuilder)>,
    /// Root hash of the image that got a tree.
    pub(crate) verified_root: Option<VerifiedRoot>,
}

impl<'a, W: Write> Payload<'a, W> {
    pub(crate) fn new(spool: &'a mut W) -> Self {
        let (index, hints) = (Index::default(), Vec::new());
        Self {
            spool,
            index,
            hints,
            len: 0,
            zeroes: 0,
            zero_digests: HashMap::new(),
            known: HashMap::new(),
            tree: None,
            verified_root: None,
        }
    }

    /// Begins an image; `verified` is its length, if it is to have a root hash.
    pub(crate) fn begin_image(&mut self, verified: Option<u64>) {
        self.known.clear();
        self.tree = verified.map(|size| (0, TreeBuilder::new(Layout::new(size))));
    }

    /// Takes zeroes.
    pub(crate) fn add_zeroes(&mut self, len: u32) {
        self.zeroes += u64::from(len);
        if let Some((next, tree)) = &mut self.tree {
            let blocks = u64::from(len.div_ceil(BLOCK_LEN));
            // Nothing of the tree is shipped but its root hash.
            drop(tree.insert_zeroes(*next, blocks));
            *next += blocks;
        }
    }

    /// Closes the tree of an image.
    pub(crate) fn finish_tree(&mut self) {
        let Some((_, tree)) = self.tree.take() else {
            return;
        };
        let len = tree.layout().image_len();
        // All blocks were given, one after the other.
        let finished = tree.finish().ok();
        self.verified_root = finished.map(|(_, root_hash)| VerifiedRoot { len, root_hash });
    }

    /// Takes the chunks of a run.
    pub(crate) fn add(&mut self, run: Vec<Chunk>) -> Result<(), CreateError> {
        self.flush_zeroes()?;
        let alone = run.len() == 1;
        for chunk in run {
            if let Some((next, tree)) = &mut self.tree {
                drop(tree.insert(*next, &chunk.blocks));
                *next += chunk.blocks.len() as u64;
            }
            let number = self.index.chunks.len();
            let earlier = self.known.get(&chunk.sha256).copied();
            let earlier =
                earlier.filter(|earlier| alone && self.index.chunks[*earlier].len == chunk.len);
            if let Some(earlier) = earlier {
                self.push(
                    Stored::nothing(ChunkKind::Repeat { chunk: earlier }),
                    chunk.len,
                    chunk.sha256,
                )?;
                continue;
            }
            self.known.insert(chunk.sha256, number);
            let Chunk {
                len,
                kind,
                before,
                sha256,
                stored_digest: digest,
                bytes,
                hints,
                ranges,
                blocks: _,
            } = chunk;
            let first_range = self.index.ranges.len();
            let kind = match ranges.len() {
                0 => kind,
                ranges => ChunkKind::Delta {
                    first_range,
                    ranges,
                },
            };
            self.index.ranges.extend(ranges);
            self.push(
                Stored {
                    kind,
                    before,
                    len: bytes.len() as u32,
                    digest,
                },
                len,
                sha256,
            )?;
            self.spool.write_all(&bytes)?;
            self.hints.extend_from_slice(&hints);
        }
        Ok(())
    }

    /// Writes the zeroes as chunks, as few as possible.
    pub(crate) fn flush_zeroes(&mut self) -> Result<(), CreateError> {
        while self.zeroes > 0 {
            let len = self.zeroes.min(u64::from(MAX_CHUNK_LEN)) as u32;
            let digest = || zero_digests([len].into()).remove(&len).unwrap_or_default();
            let sha256 = *self.zero_digests.entry(len).or_insert_with(digest);
            self.push(Stored::nothing(ChunkKind::Zero), len, sha256)?;
            self.zeroes -= u64::from(len);
        }
        Ok(())
    }

    fn push(&mut self, stored: Stored, len: u32, sha256: [u8; 32]) -> Result<(), CreateError> {
        if self.index.chunks.len() as u64 == MAX_CHUNKS {
            return Err(CreateError::Chunks);
        }
        let Stored {
            kind,
            before,
            len: stored_len,
            digest: stored_digest,
        } = stored;
        // Image and offset follow from the order when the index is read; they are not part of its
        // encoding.
        let (image, offset, payload_offset) = (0, 0, self.len);
        self.len += u64::from(stored_len);
        self.index.chunks.push(ChunkEntry {
            image,
            offset,
            len,
            kind,
            before,
            payload_offset,
            stored_len,
            sha256,
            stored_digest,
        });
        Ok(())
    }
}

impl<W: Read + Write + Seek> Payload<'_, W> {
    /// Signs what `manifest` says of the release and what has been added to the payload, and writes
    /// the bundle. *Reads* the spool and *writes* `out`.
    pub(crate) fn seal_up(
        self,
        manifest: Manifest,
        hints: Option<Vec<u8>>,
        terms: Terms,
        keys: &[SecretKey],
        out: &mut impl Write,
    ) -> Result<Created, CreateError> {
        let (index, spool) = (self.index, self.spool);
        let images_len = manifest.images.iter().map(|image| image.size).sum();
        let index_bytes = index.encode();
        let manifest = Manifest {
            hints: hints
                .as_ref()
                .map(|hints| Blob(Sha256::digest(hints).into())),
            index: IndexInfo {
                chunks: index.chunks.len() as u64,
                ranges: index.ranges.len() as u64,
                sha256: Blob(Sha256::digest(&index_bytes).into()),
            },
            payload: self.len,
            ..manifest
        };
        let hints = hints.unwrap_or_default();
        let manifest_bytes = manifest.encode()?;
        let found = manifest_bytes.len() as u64;
        if found > MAX_MANIFEST_LEN {
            return Err(CreateError::ManifestLength { found });
        }
        let statement = Statement {
            bundle_len: SEAL_LEN as u64
                + found
                + index_bytes.len() as u64
                + self.len
                + hints.len() as u64,
            manifest: ImageDigest {
                len: found,
                sha256: Sha256::digest(&manifest_bytes).into(),
            },
            ..statement(terms, &manifest)?
        };
        let mut seal = Seal::new(&statement);
        keys.iter()
            .try_for_each(|key| key.sign_seal(&mut seal))
            .map_err(CreateError::Sign)?;
        out.write_all(seal.as_bytes())?;
        out.write_all(&manifest_bytes)?;
        out.write_all(&index_bytes)?;
        spool.rewind()?;
        io::copy(spool, out)?;
        out.write_all(&hints)?;
        out.flush()?;
        Ok(Created {
            statement,
            chunks: index.chunks.len(),
            images_len,
        })
    }
}

/// How a chunk is stored.
struct Stored {
    kind: ChunkKind,
    before: u32,
    len: u32,
    digest: [u8; 16],
}

impl Stored {
    /// A chunk for which nothing is stored.
    const fn nothing(kind: ChunkKind) -> Self {
        Self {
            kind,
            before: 0,
            len: 0,
            digest: [0; 16],
        }
    }
}
