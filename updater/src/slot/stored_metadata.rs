//! What a slot keeps of the bundle that it was made of: manifest and index, in the spare room of
//! the boot partition behind the boot image. With them the slot can be checked, and it is known
//! which chunks to fetch to mend it, without the bundle.
//!
//! They are authenticated by the slot's own seal, as in the bundle. A slot without them is none the
//! worse for it.

use bootctl::device::BlockDevice;
use bootctl::disk::Window;
use bundle::{HeadParser, Index, ReadError, Release};
use seal::{Purpose, SEAL_LEN, Statement, Trust};
use std::io;
use std::sync::Arc;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Where they begin in a boot partition.
fn offset(statement: &Statement) -> Option<u64> {
    statement
        .boot
        .len
        .checked_next_multiple_of(4096)?
        .checked_add(SEAL_LEN as u64)
}

/// Writes them behind the boot image, if they fit. *Writes*; durable after a flush.
///
/// # Errors
/// What the device says.
///
/// # Power loss
/// What is torn is not authentic, and is taken for nothing.
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
    let len = (manifest.len() + index.len()) as u64;
    let Some(at) = offset(release.statement()) else {
        return Ok(false);
    };
    if at.checked_add(len).is_none_or(|end| end > boot.len()) {
        return Ok(false);
    }
    boot.write_at(at, &manifest)?;
    boot.write_at(at + manifest.len() as u64, &index)?;
    Ok(true)
}

/// The release that `boot` holds, by its seal and what is kept behind the image; the inner option
/// is empty where nothing authentic is kept. *Reads.*
///
/// # Errors
/// [`ReadError`] about the seal: damaged, or not accepted by `trust`.
pub(crate) fn read(
    boot: &Window,
    trust: &Trust,
) -> Result<(Statement, Option<Arc<Release>>), ReadError> {
    let mut bytes = [0; SEAL_LEN];
    boot.read_medium_at(0, &mut bytes)?;
    let seal = seal::Seal::from_bytes(&bytes)?;
    let statement = seal.verify(trust, Purpose::Release)?;
    let mut parser = HeadParser::new(trust, Purpose::Release);
    parser.feed(&bytes)?;
    let kept = offset(&statement).and_then(|at| feed(boot, at, parser));
    Ok((statement, kept))
}

/// Feeds what lies at `at` until the release is known, or it turns out not to be one.
fn feed(boot: &Window, mut at: u64, mut parser: HeadParser) -> Option<Arc<Release>> {
    let mut buffer = vec![0; PIECE];
    while parser.release().is_none() {
        let piece = &mut buffer[..parser.missing().min(PIECE)];
        boot.read_at(at, piece).ok()?;
        at += parser.feed(piece).ok()? as u64;
    }
    parser.release().cloned()
}
