//! Where the backup copy of a table may be, if it is not in the last sector.
//!
//! An image that was written to a larger disk has its backup where the image ended. The damaged
//! primary header and the protective MBR may still say where; images mostly end at a whole number of
//! GiB or MiB.

use crate::read_at::ReadAt;
use alloc::vec;
use seal::field::get;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Images that end within this many bytes are found, if they end at a boundary.
const REACH: u64 = 64 * GIB;
/// Type of the partition of a protective MBR.
const PROTECTIVE: u8 = 0xee;

/// How thoroughly the backup is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// At most 67 places: the end of the disk, where the damaged primary or the protective MBR says,
    /// and each GiB up to 64. For disks that need not be ours.
    Quick,
    /// Each MiB up to 64 GiB as well. For a disk that a person named.
    Thorough,
}

/// Returns the sectors in which the header of the backup may be, the likely ones first. *Reads* the
/// first two sectors.
pub(super) fn places<D: ReadAt + ?Sized>(
    disk: &D,
    sector_size: u32,
    search: Search,
) -> impl Iterator<Item = u64> + use<D> {
    let size = u64::from(sector_size);
    let sectors = disk.size().checked_div(size).unwrap_or(0);
    let last = sectors.saturating_sub(1);
    let read = |lba: u64| {
        if lba >= sectors {
            return None;
        }
        let mut sector = vec![0; sector_size as usize];
        let offset = lba.saturating_mul(size);
        disk.read_at(offset, &mut sector).ok().map(|()| sector)
    };
    let primary = read(1).filter(|sector| sector.starts_with(b"EFI PART"));
    let named = primary.map(|sector| u64::from_le_bytes(get(&sector, 32)));
    let protective = read(0).and_then(|sector| end_of_protective(&sector));
    let before = move |step: u64| {
        (1..=REACH.checked_div(step).unwrap_or(0)).filter_map(move |count| {
            let end = count.checked_mul(step)?.checked_div(size)?;
            end.checked_sub(1)
        })
    };
    let fine = match search {
        Search::Quick => None,
        Search::Thorough => Some(before(MIB)),
    };
    let elsewhere = named
        .into_iter()
        .chain(protective)
        .chain(before(GIB))
        .chain(fine.into_iter().flatten())
        .filter(move |lba| (2..last).contains(lba));
    [last].into_iter().chain(elsewhere)
}

/// Returns the last sector that a protective MBR covers (UEFI 2.10, 5.2.3).
fn end_of_protective(sector: &[u8]) -> Option<u64> {
    let first = u32::from_le_bytes(get(sector, 454));
    let count = u32::from_le_bytes(get(sector, 458));
    let is_protective = get::<2>(sector, 510) == [0x55, 0xaa]
        && get::<1>(sector, 450) == [PROTECTIVE]
        && first == 1
        && count != u32::MAX;
    is_protective.then(|| u64::from(count))
}
