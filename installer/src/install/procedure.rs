//! Installing: create the slots, then apply the first bundle to one of them by the same procedure
//! as every later update.

use super::rollback_floor;
use crate::disk::coexist::{CoexistPlan, Obstacles};
use crate::disk::layout::{ALIGNMENT, Layout, LayoutError, PlannedDisk, PlannedPartition, Purpose};
use crate::disk::table::{ExistingTable, Table, TableError};
use crate::esp::guards;
use crate::install::media_fingerprint::MediaFingerprint;
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use bootctl::efivars::EfiVars;
use bootctl::secure_boot::{SecureBoot, is_signed};
use bootctl::store::{RecordStore, StoreError};
use record::gpt::{Partition, Partitions};
use record::{Choice, Guid, Record, Text64};
use seal::Trust;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use updater::events::EventSink;
use updater::plan::{Facts, Refusal, Scope, plan};
use updater::source::Retries;
use updater::source::Source;
use updater::{ApplyError, Failure, Incoming, Machine, Options, Outcome, Report};

/// What to install where.
pub struct InstallRequest<'a> {
    /// The disk. Nothing on it is kept, unless this is [`InstallOptions::beside`] another system.
    pub device: Arc<dyn BlockDevice>,
    /// The layout that it gets.
    pub layout: &'a Layout,
    /// Identity of this installation; a random number.
    pub install_id: Guid,
    /// What this machine accepts; without it, the first name that the release is compatible with.
    pub compatible: Option<Text64>,
    /// Who is trusted.
    pub trust: &'a Trust,
    /// The machine's EFI variables, or none when an image is made for another machine.
    pub vars: Option<&'a dyn EfiVars>,
    /// Threads.
    pub jobs: usize,
    /// Seconds since 1970.
    pub now: u64,
    /// How it stands with other installations.
    pub options: InstallOptions,
}

/// How an installation stands with other systems, with the one before it on the disk, and with the
/// next start of its medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstallOptions {
    /// Install into free space, beside other systems. Partitions of ours that are there already are
    /// replaced; whoever calls this has seen to it that they may be.
    pub beside: bool,
    /// Forget the floor of the installation before, if it was of the same product; else it is kept.
    pub forget_floor: bool,
    /// The medium that installs, to know it again.
    pub fingerprint: Option<MediaFingerprint>,
}

/// Why nothing was installed, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The bundle cannot be had or is not acceptable. The disk is as it was.
    #[error(transparent)]
    Bundle(ApplyError),
    /// The bundle is not fit for the disk as it would be. The disk is as it was.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The layout does not fit the disk. The disk is as it was.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is no room beside what is on the disk. The disk is as it was.
    #[error("disk: {0}")]
    Coexist(#[from] Obstacles),
    /// The disk could not be read. It is as it was.
    #[error("partition table: {0}")]
    Unreadable(io::Error),
    /// The partition table could not be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The disk failed while it was being prepared.
    #[error("{what}: {error}")]
    Prepare {
        /// What was being written.
        what: &'static str,
        /// What the device said.
        error: io::Error,
    },
    /// The new table does not read back.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The boot record could not be written.
    #[error("boot record: {0}")]
    Record(#[from] StoreError),
    /// The slot could not be written.
    #[error(transparent)]
    Apply(#[from] Failure),
}

impl InstallError {
    /// Whether the disk is as it was before.
    #[must_use]
    pub const fn disk_is_unchanged(&self) -> bool {
        matches!(
            self,
            Self::Bundle(_)
                | Self::Refused(_)
                | Self::Layout(_)
                | Self::Coexist(_)
                | Self::Unreadable(_)
        )
    }
}

/// Installs the bundle that comes from `source`. *Writes*: durable on return.
///
/// The bundle's head is verified, and everything that can be refused is, before the first byte is
/// written.
///
/// # Errors
/// [`InstallError`].
///
/// # Power loss
/// Until the partition table is written the disk looks as before, to firmware and to people; from
/// then on it is an unfinished installation, which the next run begins anew; after the activation
/// it is installed. CoexistPlan another system the table has that in it at every cut, and until the
/// activation it is what the firmware starts.
pub async fn install<S: Source>(
    source: S,
    request: &InstallRequest<'_>,
    events: &dyn EventSink,
) -> Result<Report, InstallError> {
    install_announced(source, request, events, || {}).await
}

/// [`install`]; `writing` is called when nothing speaks against it any more, just before the first
/// byte is written.
///
/// # Errors
/// [`InstallError`].
///
/// # Power loss
/// As [`install`].
pub async fn install_announced<S: Source>(
    source: S,
    request: &InstallRequest<'_>,
    events: &dyn EventSink,
    writing: impl FnOnce(),
) -> Result<Report, InstallError> {
    let on_retry = |error: &updater::source::SourceError, pause| {
        events.event(updater::events::Event::retry(error, pause));
    };
    let incoming = Incoming::open(source, request.trust, Retries::default(), &on_retry);
    let incoming = incoming.await.map_err(InstallError::Bundle)?;
    let destination = Destination::of(request)?;
    let planned = &destination.planned;
    let first = incoming
        .release()
        .manifest()
        .compatible
        .first()
        .and_then(|name| Text64::new(name));
    let found = partitions(planned);
    let compatible = request.compatible.or(first).unwrap_or(Text64::EMPTY);
    let state = planned
        .partition(Purpose::RayosState)
        .map(|partition| partition.offset);
    let floor = if request.options.forget_floor {
        0
    } else {
        rollback_floor::previous_floor(&request.device, state, compatible)
    };
    let record = Record {
        install_id: planned.install_id,
        compatible,
        floor,
        ..Record::unused(&found)
    };
    let facts = Facts {
        record: &record,
        partitions: &found,
        sector_size: planned.sector_size,
        booted: Choice::Recovery,
        scope: Scope::Install,
    };
    plan(&facts, incoming.release())?;
    writing();
    let disk = prepare(&destination, request.options, &record)?;
    let esp = disk.esp()?;
    let must_be_signed = request.vars.is_some_and(SecureBoot::is_on);
    let place_guard = |guard: &[u8]| {
        if must_be_signed && is_signed(guard) != Ok(true) {
            let words = "the guard is not signed for Secure Boot, which is on: the firmware would not start it";
            return Err(io::Error::other(words));
        }
        guards::write_copies(&esp, guards::volume_id(planned.disk_guid), guard)
    };
    let store = RecordStore::open(&disk)?;
    let machine = Machine {
        disk,
        store,
        vars: request.vars,
        booted: Choice::Recovery,
        now: request.now,
    };
    let options = Options {
        trust: request.trust,
        place_guard: Some(&place_guard),
        tries: record::TRIAL_TRIES,
        read_back: true,
        adaptive: true,
        jobs: request.jobs,
        retries: Retries::default(),
        plan_only: false,
    };
    match incoming.apply(&machine, &options, events).await? {
        Outcome::Activated(report) => Ok(report),
        // The scope is an installation and the slots are empty: there is something to do.
        Outcome::UpToDate(_) | Outcome::Planned(..) => {
            Err(InstallError::Bundle(ApplyError::Stopped))
        }
    }
}

/// Where it is installed: a disk, how it will be divided, and the table that says so.
struct Destination {
    /// With another system on it, one that refuses writes to what is not ours.
    device: Arc<dyn BlockDevice>,
    planned: PlannedDisk,
    table: Table,
}

impl Destination {
    fn of(request: &InstallRequest<'_>) -> Result<Self, InstallError> {
        let (len, device) = (request.device.len(), Arc::clone(&request.device));
        if !request.options.beside {
            let planned = request
                .layout
                .plan(len, device.sector_size(), request.install_id)?;
            return Ok(Self {
                device,
                table: Table::build(&planned)?,
                planned,
            });
        }
        let existing = ExistingTable::read(device.as_ref()).map_err(InstallError::Unreadable)?;
        let existing = existing.map_err(|unfit| Obstacles(vec![unfit.into()]))?;
        let beside = CoexistPlan::plan(&existing, request.layout, len, request.install_id)?;
        let device = Arc::new(beside.fence(device));
        Ok(Self {
            device,
            planned: beside.planned,
            table: beside.table,
        })
    }
}

/// The partitions as they will be found once the table is written. *Pure.*
fn partitions(disk: &PlannedDisk) -> Partitions {
    let sector = u64::from(disk.sector_size);
    let find = |purpose| {
        disk.partition(purpose).map(|partition| Partition {
            uuid: partition.uuid,
            number: partition.number,
            first_lba: partition.offset / sector,
            last_lba: (partition.offset + partition.size) / sector - 1,
        })
    };
    Partitions {
        disk_guid: disk.disk_guid,
        esp: find(Purpose::Esp),
        state: find(Purpose::RayosState),
        boot: [find(Purpose::BootA), find(Purpose::BootB)],
        root: [find(Purpose::RootA), find(Purpose::RootB)],
        recovery: find(Purpose::Recovery),
        data: find(Purpose::Data),
    }
}

/// Zeroes where signatures of file systems, RAID and volume managers lie: the first and last MiB of
/// each partition but `rayos-state`, and of the whole disk environment the tables if that is ours.
///
/// Left there, they make a new partition ambiguous to programs that probe for them (blkid), or let
/// a kernel assemble an old array over the new disk. *Writes.*
///
/// # Power loss
/// The old table is still there until [`Table::commit`]; what it names has lost its first and last
/// bytes.
fn wipe(destination: &Destination, options: InstallOptions) -> Result<(), InstallError> {
    let Destination {
        device,
        planned,
        table,
    } = destination;
    let zero = |what, range: Range<u64>| {
        let zeroes = vec![0; range.end.saturating_sub(range.start) as usize];
        let written = device.write_at(range.start, &zeroes);
        written.map_err(|error| InstallError::Prepare { what, error })
    };
    let ours = |partition: &&PlannedPartition| partition.purpose != Purpose::RayosState;
    for partition in planned.partitions.iter().filter(ours) {
        let (start, end) = (partition.offset, partition.offset + partition.size);
        let what = "start and end of a partition";
        zero(what, start..end.min(start + ALIGNMENT))?;
        zero(what, start.max(end - ALIGNMENT)..end)?;
    }
    if options.beside {
        return Ok(());
    }
    // Between the tables, which are written over, and the partitions.
    let sector = u64::from(planned.sector_size);
    let len = device.len() / sector * sector;
    let (mut start, mut end) = (0, len);
    for extent in table.extents() {
        if extent.end <= ALIGNMENT {
            start = start.max(extent.end);
        } else {
            end = end.min(extent.start);
        }
    }
    zero("start of the disk", start..ALIGNMENT)?;
    zero("end of the disk", end.saturating_sub(ALIGNMENT)..end)
}

/// Clears what an earlier system may have left where ours looks, writes the first record, and then
/// the table: whoever finds the table finds the record. The copies of the record are not cleared,
/// but written over one after the other: at any cut one of them knows the floor.
fn prepare(
    destination: &Destination,
    options: InstallOptions,
    record: &Record,
) -> Result<Disk, InstallError> {
    let Destination {
        device,
        planned,
        table,
    } = destination;
    let device = device.as_ref();
    wipe(destination, options)?;
    let start = |purpose| planned.partition(purpose).map(|partition| partition.offset);
    let zero = |what, purpose, range: Range<u64>| {
        let Some(start) = start(purpose) else {
            return Ok(());
        };
        let zeroes = vec![0; (range.end - range.start) as usize];
        device
            .write_at(start + range.start, &zeroes)
            .map_err(|error| InstallError::Prepare { what, error })
    };
    let [first, second] = record::COPY_OFFSETS;
    zero(
        "rayos-state",
        Purpose::RayosState,
        first + record::RECORD_LEN as u64..second,
    )?;
    let failed = |what| move |error| InstallError::Prepare { what, error };
    if let Some(state) = start(Purpose::RayosState) {
        if let Some(fingerprint) = options.fingerprint {
            fingerprint
                .write(device, state)
                .map_err(failed("fingerprint of the medium"))?;
        }
        for (copy, offset) in (0..).zip([first, second]) {
            device
                .write_at(state + offset, &record.encode(copy))
                .map_err(failed("boot record"))?;
            device.flush().map_err(failed("flush"))?;
        }
    }
    table.commit(device)?;
    Ok(Disk::open(Arc::clone(&destination.device))?)
}
