//! The floor of the installation before: who erases a disk to install anew does not want older
//! releases back.

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use record::{COPY_OFFSETS, RECORD_LEN, Record, Text64};
use std::sync::Arc;

/// The highest floor that a readable boot record on `device` speaks of, for a machine that is
/// `compatible`; 0 without one. *Reads.* Looked at are the state partition that is there, and the
/// place `planned` of the one that will be: after an installation that was cut off, the record of
/// the new one is there and its table is not.
///
/// A record of another product does not count; one that does not know what the machine is does.
#[must_use]
pub(crate) fn previous_floor(
    device: &Arc<dyn BlockDevice>,
    planned: Option<u64>,
    compatible: Text64,
) -> u64 {
    let there = Disk::open(Arc::clone(device))
        .ok()
        .and_then(|disk| disk.state().ok());
    let states = there.map(|state| state.start()).into_iter().chain(planned);
    let copies =
        states.flat_map(|state| (0..).zip(COPY_OFFSETS.map(|offset| state.saturating_add(offset))));
    let records = copies.filter_map(|(copy, offset)| {
        let mut block = [0; RECORD_LEN];
        device.read_at(offset, &mut block).ok()?;
        Record::decode(&block, copy).ok()
    });
    let same = |record: &Record| [compatible, Text64::EMPTY].contains(&record.compatible);
    records
        .filter(same)
        .map(|record| record.floor)
        .max()
        .unwrap_or(0)
}
