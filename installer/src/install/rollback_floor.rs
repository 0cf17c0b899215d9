//! The floors of the previous installation. They are kept when a disk is installed again, so that an
//! old medium brings back neither old releases nor withdrawn keys.

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use record::{COPY_OFFSETS, RECORD_LEN, Record, Text64};
use std::sync::Arc;

/// The floors of a previous installation; 0 without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PreviousFloors {
    /// The rollback floor.
    pub(crate) rollback: u64,
    /// The trust floor.
    pub(crate) trust: u64,
}

/// Returns the highest floors in the readable boot records on `device`; 0 without one.
/// *Reads* the state partition of the current table and the one that is planned at byte `planned`:
/// an interrupted installation has written the new record, but not the table.
///
/// A record with another hardware name than `compatible` does not count; one without a name does.
#[must_use]
pub(crate) fn previous_floors(
    device: &Arc<dyn BlockDevice>,
    planned: Option<u64>,
    compatible: Text64,
) -> PreviousFloors {
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
        .fold(PreviousFloors::default(), |floors, record| PreviousFloors {
            rollback: floors.rollback.max(record.floor),
            trust: floors.trust.max(record.trust_floor),
        })
}
