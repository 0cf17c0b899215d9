//! Preparation of a disk: erases old signatures, writes the boot record, then the partition table.

use super::destination::Destination;
use super::error::InstallError;
use super::media_fingerprint::MediaFingerprint;
use super::request::InstallOptions;
use crate::disk::layout::{ALIGNMENT, PlannedPartition};
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use record::{COPY_OFFSETS, PartitionName, RECORD_LEN, Record};
use seal::SEAL_LEN;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use updater::events::{Event, EventSink};

/// Prepares the disk of `destination` and opens it. *Writes*, durable on return.
///
/// The table is written last, so a reader that finds the table also finds the record. The copies
/// of an existing record are overwritten one after the other and not erased: one of them has the
/// rollback floor at any time.
///
/// # Power loss
/// Before the commit of the table the disk has its old table, and old partitions have lost their
/// first and last bytes; a boot image loses its seal before any other byte. After it the disk holds an unfinished installation, which the next run
/// replaces.
pub(super) fn prepare(
    destination: &Destination,
    options: InstallOptions,
    record: &Record,
) -> Result<Disk, InstallError> {
    let device = destination.device.as_ref();
    make_unbootable(destination)?;
    erase_partition_signatures(destination)?;
    if !options.beside {
        erase_disk_signatures(destination)?;
    }
    if let Some(state) = destination.start(PartitionName::State) {
        write_state(device, state, options, record)?;
    }
    destination.table.commit(device)?;
    Ok(Disk::open(Arc::clone(&destination.device))?)
}

/// Writes a state partition that starts at byte `state`: the record, then everything else in it.
/// *Writes*; durable after the next flush.
///
/// # Power loss
/// The old record with the fingerprint of its medium, or the new record, which is that of an
/// unfinished installation and needs no fingerprint.
fn write_state(
    device: &dyn BlockDevice,
    state: u64,
    options: InstallOptions,
    record: &Record,
) -> Result<(), InstallError> {
    let [first, second] = COPY_OFFSETS.map(|offset| state + offset);
    for (copy, offset) in (0..).zip([first, second]) {
        let written = device.write_at(offset, &record.encode(copy));
        written.map_err(failed("boot record"))?;
        device.flush().map_err(failed("flush"))?;
    }
    zero(device, "rayos-state", first + RECORD_LEN as u64..second)?;
    let written = MediaFingerprint::write(options.fingerprint, device, state);
    written.map_err(failed("fingerprint of the medium"))
}

/// Zeroes the seals of the boot images and the boot sector of the ESP. *Writes*, durable on return.
///
/// A later power cut may leave any part of the erased ranges. Without this barrier, the guard of an
/// earlier installation could start a slot whose root image is partly erased, or the firmware could
/// load a partly erased guard.
fn make_unbootable(destination: &Destination) -> Result<(), InstallError> {
    let device = destination.device.as_ref();
    for name in [
        PartitionName::BootA,
        PartitionName::BootB,
        PartitionName::Recovery,
        PartitionName::Esp,
    ] {
        if let Some(start) = destination.start(name) {
            zero(
                device,
                "seal or boot sector",
                start..start + SEAL_LEN as u64,
            )?;
        }
    }
    device.flush().map_err(failed("flush"))
}

/// Zeroes the first and last MiB of each partition but `rayos-state`. *Writes*; durable after the
/// next flush.
///
/// File systems, RAID and volume managers keep their signatures there. An old signature makes a new
/// partition ambiguous to programs that probe for one (blkid), or lets a kernel assemble an old
/// array.
fn erase_partition_signatures(destination: &Destination) -> Result<(), InstallError> {
    let device = destination.device.as_ref();
    let has_signatures = |partition: &&PlannedPartition| partition.purpose != PartitionName::State;
    for partition in destination.planned.partitions.iter().filter(has_signatures) {
        let (start, end) = (partition.offset, partition.offset + partition.size);
        let what = "start and end of a partition";
        zero(device, what, start..end.min(start + ALIGNMENT))?;
        zero(device, what, start.max(end - ALIGNMENT)..end)?;
    }
    Ok(())
}

/// Erases the data partition with a command of the device, so that the data of the previous owner
/// cannot be read. *Writes*; durable after the next flush. A device that has no such command, or
/// fails, is a warning: writing zeroes to all of it would take hours.
///
/// # Power loss
/// The disk holds an unfinished installation, which the next run replaces, and erases again.
pub(super) fn erase_data(disk: &Disk, events: &dyn EventSink) {
    let erased = disk.partition(PartitionName::Data).map(|data| {
        data.erase_at(0, data.len())?;
        data.flush()
    });
    if let Ok(Err(error)) = erased {
        let message = format!("rayos-data: not erased, old contents stay readable: {error}");
        events.event(Event::Warning { message });
    }
}

/// Zeroes the ranges between the partition tables and the partitions, where signatures of the whole
/// disk are. *Writes*; durable after the next flush.
fn erase_disk_signatures(destination: &Destination) -> Result<(), InstallError> {
    let device = destination.device.as_ref();
    let sector = u64::from(destination.planned.sector_size);
    let len = device.len() / sector * sector;
    let (mut start, mut end) = (0, len);
    for extent in destination.table.extents() {
        if extent.end <= ALIGNMENT {
            start = start.max(extent.end);
        } else {
            end = end.min(extent.start);
        }
    }
    zero(device, "start of the disk", start..ALIGNMENT)?;
    zero(
        device,
        "end of the disk",
        end.saturating_sub(ALIGNMENT)..end,
    )
}

fn zero(
    device: &dyn BlockDevice,
    what: &'static str,
    range: Range<u64>,
) -> Result<(), InstallError> {
    let zeroes = vec![0; range.end.saturating_sub(range.start) as usize];
    let written = device.write_at(range.start, &zeroes);
    written.map_err(failed(what))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> InstallError {
    move |error| InstallError::Prepare { what, error }
}
