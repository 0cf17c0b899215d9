//! The trust links in the state partition: two copies, each checked by its own signatures.

use crate::disk::device::BlockDevice as _;
use crate::disk::{Disk, Window};
use record::{LINKS_LEN, LINKS_OFFSETS};
use seal::{LINK_LEN, Link, MAX_LINKS, Trust, TrustChain, stored_links};
use std::io;

/// Returns the links in both copies, each once. *Reads.* A copy that cannot be read has none.
#[must_use]
pub fn read(disk: &Disk) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let Ok(state) = disk.state() else {
        return links;
    };
    for offset in LINKS_OFFSETS {
        let mut bytes = vec![0; LINKS_LEN as usize];
        if state.read_medium_at(offset, &mut bytes).is_ok() {
            let new = stored_links(&bytes).into_iter();
            let new: Vec<Link> = new.filter(|link| !links.contains(link)).collect();
            links.extend(new);
        }
    }
    links
}

/// Returns the chain from `first` along the links on `disk`. *Reads.*
#[must_use]
pub fn chain(disk: &Disk, first: Trust) -> TrustChain {
    let mut chain = TrustChain::new(first);
    // A link that is refused ends the chain; what was followed so far stays.
    let _refused = chain.follow(&read(disk));
    chain
}

/// Writes `links` to both copies, and reads them back. *Writes* only what differs; durable on
/// return.
///
/// # Errors
/// The error of the device; `InvalidInput` for more than [`MAX_LINKS`] links.
///
/// # Power loss
/// Leaves each link that was in both copies and stays in its place: a copy is written after the
/// other one is durable.
pub fn write(disk: &Disk, links: &[Link]) -> io::Result<()> {
    if links.len() > MAX_LINKS {
        let words = format!("{} trust links, maximum {MAX_LINKS}", links.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let state = disk.state().map_err(io::Error::other)?;
    for offset in LINKS_OFFSETS {
        write_copy(&state, offset, links)?;
    }
    Ok(())
}

fn write_copy(state: &Window, offset: u64, links: &[Link]) -> io::Result<()> {
    let mut wanted = vec![0; LINKS_LEN as usize];
    for (block, link) in wanted.chunks_mut(LINK_LEN).zip(links) {
        block.copy_from_slice(link.as_bytes());
    }
    let mut found = vec![0; wanted.len()];
    state.read_medium_at(offset, &mut found)?;
    if found == wanted {
        return Ok(());
    }
    let blocks = wanted.chunks(LINK_LEN).zip(found.chunks(LINK_LEN));
    for ((new, old), at) in blocks.zip((offset..).step_by(LINK_LEN)) {
        if new != old {
            state.write_at(at, new)?;
        }
    }
    state.flush()?;
    state.read_medium_at(offset, &mut found)?;
    if found == wanted {
        Ok(())
    } else {
        Err(io::Error::other("read back other bytes than were written"))
    }
}
