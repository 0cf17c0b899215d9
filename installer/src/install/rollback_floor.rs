//! The floors of the previous installation. They are kept when a disk is installed again, so that an
//! old medium brings back neither old releases nor withdrawn keys.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use record::gpt::{CopyError, NoTable};
use record::{COPY_OFFSETS, RECORD_LEN, Record, Text64};
use std::io;
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
///
/// # Errors
/// The error of the device, if it leaves no readable copy of a record: the floors are not known.
pub(crate) fn previous_floors(
    device: &Arc<dyn BlockDevice>,
    planned: Option<u64>,
    compatible: Text64,
) -> io::Result<PreviousFloors> {
    let there = current_state(device)?;
    let mut floors = PreviousFloors::default();
    for state in there.into_iter().chain(planned) {
        let same = |record: &Record| [compatible, Text64::EMPTY].contains(&record.compatible);
        let records = records_at(device, state)?;
        floors = records
            .iter()
            .filter(|it| same(it))
            .fold(floors, |floors, record| PreviousFloors {
                rollback: floors.rollback.max(record.floor),
                trust: floors.trust.max(record.trust_floor),
            });
    }
    Ok(floors)
}

/// Returns the first byte of the state partition in the current table.
fn current_state(device: &Arc<dyn BlockDevice>) -> io::Result<Option<u64>> {
    match Disk::open(Arc::clone(device)) {
        Ok(disk) => Ok(disk.state().ok().map(|state| state.start())),
        Err(DiskError::NoTable(NoTable { primary, backup })) => match (primary, backup) {
            (CopyError::Io(error), _) | (_, CopyError::Io(error)) => Err(error),
            _ => Ok(None),
        },
        Err(_) => Ok(None),
    }
}

/// Returns the valid copies of the record in the state partition at byte `state`.
fn records_at(device: &Arc<dyn BlockDevice>, state: u64) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut unreadable = None;
    for (copy, offset) in (0..).zip(COPY_OFFSETS) {
        let mut block = [0; RECORD_LEN];
        match device.read_at(state.saturating_add(offset), &mut block) {
            Ok(()) => records.extend(Record::decode(&block, copy)),
            Err(error) => unreadable = Some(error),
        }
    }
    match unreadable {
        Some(error) if records.is_empty() => Err(error),
        _ => Ok(records),
    }
}
