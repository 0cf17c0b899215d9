//! The metadata that a slot stores about its release: the seal, and trust links, manifest and index
//! of its bundle in the free room behind the boot image. With them a slot can be compared, and repaired
//! chunk by chunk, without the bundle.
//!
//! The seal authenticates manifest and index, as in the bundle. They are optional.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::{HeadParser, Index, ReadError, Release};
use record::Slot;
use seal::{Link, Purpose, SEAL_LEN, Seal, Statement, TrustChain};
use std::io;
use std::sync::Arc;

/// Bytes per read.
const READ_LEN: usize = 1 << 20;

/// A slot on a disk, and the keys that its seal must verify with.
#[derive(Clone, Copy)]
pub struct SealedSlot<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// The slot.
    pub slot: Slot,
    /// The trusted keys.
    pub trust: &'a TrustChain,
}

/// The metadata of a slot.
pub(crate) struct StoredMetadata {
    /// The statement of its seal.
    pub(crate) statement: Statement,
    /// The release with its index; `None` if the slot stores none that is authentic.
    pub(crate) release: Option<Arc<Release>>,
}

/// A slot whose seal could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    /// The boot partition is missing.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The seal is damaged, or the trusted keys do not accept it.
    #[error(transparent)]
    Seal(#[from] ReadError),
}

impl SealedSlot<'_> {
    /// Returns the metadata of the slot. *Reads.*
    ///
    /// # Errors
    /// [`MetadataError`].
    pub(crate) fn metadata(&self) -> Result<StoredMetadata, MetadataError> {
        Ok(read(&self.disk.boot(self.slot)?, self.trust)?)
    }
}

/// Returns the offset of trust links and manifest in a boot partition.
fn offset(statement: &Statement) -> Option<u64> {
    statement
        .boot
        .len
        .checked_next_multiple_of(4096)?
        .checked_add(SEAL_LEN as u64)
}

/// Writes trust links, manifest and index behind the boot image. *Writes*; durable after a flush. Returns false
/// if there is not enough room.
///
/// # Errors
/// The error of the device.
///
/// # Power loss
/// A torn write is not authentic, and counts as no metadata.
pub(crate) fn write(boot: &Window, release: &Release) -> io::Result<bool> {
    let Ok(manifest) = release.manifest().encode() else {
        return Ok(false);
    };
    let ranges = release
        .chunks()
        .iter()
        .flat_map(|chunk| release.base_ranges(chunk));
    let index = Index {
        chunks: release.chunks().to_vec(),
        ranges: ranges.copied().collect(),
    }
    .encode();
    let links: Vec<u8> = release
        .links()
        .iter()
        .flat_map(Link::as_bytes)
        .copied()
        .collect();
    let stored = [links, manifest, index].concat();
    let len = stored.len() as u64;
    let Some(at) = offset(release.statement()) else {
        return Ok(false);
    };
    if at.checked_add(len).is_none_or(|end| end > boot.len()) {
        return Ok(false);
    }
    boot.write_at(at, &stored)?;
    Ok(true)
}

fn read(boot: &Window, trust: &TrustChain) -> Result<StoredMetadata, ReadError> {
    let mut bytes = [0; SEAL_LEN];
    boot.read_medium_at(0, &mut bytes)?;
    let statement = trust.verify(&Seal::from_bytes(&bytes)?, Purpose::Release)?;
    let mut parser = HeadParser::following(trust.clone(), Purpose::Release);
    parser.feed(&bytes)?;
    let release = offset(&statement).and_then(|at| read_release(boot, at, parser));
    Ok(StoredMetadata { statement, release })
}

/// Feeds the bytes from `at` on to `parser`; `None` as soon as they are not authentic.
fn read_release(boot: &Window, mut at: u64, mut parser: HeadParser) -> Option<Arc<Release>> {
    let mut buffer = vec![0; READ_LEN];
    while parser.release().is_none() {
        let bytes = &mut buffer[..parser.missing().min(READ_LEN)];
        boot.read_at(at, bytes).ok()?;
        at += parser.feed(bytes).ok()? as u64;
    }
    parser.release().cloned()
}
