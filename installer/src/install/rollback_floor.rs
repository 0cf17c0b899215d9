//! The rollback floor of the previous installation. It is kept when a disk is installed again, so
//! that an old medium does not bring old releases back.

use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use record::gpt::{CopyError, NoTable};
use record::{COPY_OFFSETS, RECORD_LEN, Record, Text64};
use std::io;
use std::sync::Arc;

/// Returns the highest rollback floor in the readable boot records on `device`; 0 without one.
/// *Reads* the state partition of the current table and the one that is planned at byte `planned`:
/// an interrupted installation has written the new record, but not the table.
///
/// A record with another hardware name than `compatible` does not count; one without a name does.
///
/// # Errors
/// The error of the device, if it leaves no readable copy of a record: the floor is not known.
pub(crate) fn previous_floor(
    device: &Arc<dyn BlockDevice>,
    planned: Option<u64>,
    compatible: Text64,
) -> io::Result<u64> {
    let there = current_state(device)?;
    let mut floor = 0;
    for state in there.into_iter().chain(planned) {
        let same = |record: &Record| [compatible, Text64::EMPTY].contains(&record.compatible);
        let records = records_at(device, state)?;
        let floors = records.iter().filter(|it| same(it)).map(|it| it.floor);
        floor = floors.fold(floor, u64::max);
    }
    Ok(floor)
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
