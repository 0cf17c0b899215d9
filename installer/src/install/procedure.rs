//! The installation: plan, prepare the disk, then apply the bundle as a later update does.

use super::destination::Destination;
use super::error::InstallError;
use super::prepare::{erase_data, prepare};
use super::request::InstallRequest;
use super::rollback_floor::{PreviousFloors, previous_floors};
use super::verify_bundle::{may_lose, verify_bundle};
use crate::esp::guards;
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::secure_boot::{SecureBoot, is_signed};
use bootctl::store::RecordStore;
use bundle::trust::pe::GuardError;
use bundle::{ReadError, Release};
use record::{Choice, PartitionName, Record, Text64};
use seal::{Purpose, TrustChain};
use std::io;
use std::sync::Arc;
use updater::events::{Event, EventSink};
use updater::plan::{Facts, Scope, plan};
use updater::source::{Retries, Source, SourceError};
use updater::{ApplyError, Incoming, Options, Outcome, Report, TargetMachine};

/// Installs the bundle from `source`. *Writes*, durable on return.
///
/// The head of the bundle is verified, and compared with the disk and the machine, before the first
/// byte is written. The whole bundle is verified before the first byte of an old system is written.
///
/// # Errors
/// [`InstallError`].
///
/// # Power loss
/// Until the partition table is written, the disk has its old table. From then on it holds an
/// unfinished installation, which the next run replaces. After the activation it is installed.
///
/// If another system is kept, the table contains that system at any time, and the firmware starts
/// it until the activation.
pub async fn install<S: Source>(
    source: S,
    request: &InstallRequest<'_>,
    events: &dyn EventSink,
) -> Result<Report, InstallError> {
    install_announced(source, request, events, || {}).await
}

/// Installs as [`install`], and calls `announce` just before the first byte is written. *Writes*,
/// durable on return.
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
    announce: impl FnOnce(),
) -> Result<Report, InstallError> {
    let on_retry = |error: &SourceError, pause| events.event(Event::retry(error, pause));
    let incoming = Incoming::open(source, request.trust, Retries::default(), &on_retry);
    let mut incoming = incoming.await.map_err(InstallError::Bundle)?;
    let destination = Destination::plan(request)?;
    let record = first_record(request, &destination, &incoming)?;
    if let Some(guard) = incoming.guard_image().await.map_err(InstallError::Bundle)? {
        let release = incoming.release();
        warn_of(
            guards::check(&guard, release, release.links(), record.trust_floor)?.as_ref(),
            events,
        );
    }
    let may_lose = may_lose(request);
    verify_bundle(&mut incoming, request, may_lose, events).await?;
    announce();
    let disk = prepare(&destination, request.options, &record)?;
    if may_lose {
        erase_data(&disk, events);
    }
    apply(incoming, disk, request, events).await
}

/// Returns the boot record of the new installation, if the bundle fits it. *Reads* the rollback
/// floor of the previous installation.
fn first_record<S: Source>(
    request: &InstallRequest<'_>,
    destination: &Destination,
    incoming: &Incoming<'_, S>,
) -> Result<Record, InstallError> {
    let release = incoming.release();
    let compatible = request.compatible.or_else(|| {
        let first = release.manifest().compatible.first()?;
        Text64::new(first)
    });
    let compatible = compatible.unwrap_or(Text64::EMPTY);
    let floors = if request.options.forget_floor {
        PreviousFloors::default()
    } else {
        let state = destination.start(PartitionName::State);
        previous_floors(&request.device, state, compatible).map_err(InstallError::Floor)?
    };
    check_keys(request, floors, release)?;
    let partitions = destination.partitions();
    let record = Record {
        install_id: destination.planned.install_id,
        compatible,
        floor: floors.rollback,
        trust_floor: floors.trust,
        ..Record::unused(&partitions)
    };
    let facts = Facts {
        record: &record,
        partitions: &partitions,
        sector_size: destination.planned.sector_size,
        booted: Choice::Recovery,
        scope: Scope::Install,
    };
    plan(&facts, release)?;
    Ok(record)
}

/// Refuses a bundle whose keys were withdrawn from the previous installation. *Pure.*
fn check_keys(
    request: &InstallRequest<'_>,
    floors: PreviousFloors,
    release: &Release,
) -> Result<(), InstallError> {
    let mut chain = TrustChain::from(request.trust).with_floor(floors.trust);
    let read_error = |error: ReadError| InstallError::Bundle(error.into());
    chain
        .follow(release.links())
        .map_err(|error| read_error(error.into()))?;
    chain
        .accept(release.seal(), Purpose::Release)
        .map_err(|error| read_error(error.into()))?;
    Ok(())
}

fn warn_of(warning: Option<&GuardError>, events: &dyn EventSink) {
    if let Some(warning) = warning {
        let message = format!("{warning}: firmware will not start it");
        events.event(Event::Warning { message });
    }
}

/// Applies the bundle to the prepared disk. *Writes*, durable on return.
async fn apply<S: Source>(
    incoming: Incoming<'_, S>,
    disk: Disk,
    request: &InstallRequest<'_>,
    events: &dyn EventSink,
) -> Result<Report, InstallError> {
    let esp = disk.esp()?;
    let volume_id = guards::volume_id(disk.guid());
    let must_be_signed = request.vars.is_some_and(SecureBoot::is_on);
    let release = Arc::clone(incoming.release());
    let trust_floor = RecordStore::open(&disk)?.read()?.trust_floor;
    let is_read_once = !incoming.can_reread();
    let place_guard = |guard: &[u8]| {
        // A guard from a pipe is known only now.
        let checked = guards::check(guard, &release, release.links(), trust_floor);
        let warning = checked.map_err(io::Error::other)?;
        if is_read_once {
            warn_of(warning.as_ref(), events);
        }
        place_guard(&esp, volume_id, guard, must_be_signed)
    };
    let chain = TrustChain::from(request.trust);
    let options = Options {
        trust: &chain,
        place_guard: Some(&place_guard),
        tries: record::TRIAL_TRIES,
        read_back: true,
        adaptive: true,
        jobs: request.jobs,
        retries: Retries::default(),
        if_newer: false,
        plan_only: false,
    };
    let store = RecordStore::open(&disk)?;
    let machine = TargetMachine {
        disk,
        store,
        vars: request.vars,
        booted: Choice::Recovery,
        now: request.now,
    };
    match incoming.apply(&machine, &options, events).await? {
        Outcome::Activated(report) => Ok(report),
        // Neither happens: the slots are empty, and the scope is an installation.
        Outcome::UpToDate(_) | Outcome::NotNewer(_) | Outcome::Planned(..) => {
            Err(InstallError::Bundle(ApplyError::Stopped))
        }
    }
}

fn place_guard(
    esp: &dyn BlockDevice,
    volume_id: u32,
    guard: &[u8],
    must_be_signed: bool,
) -> io::Result<()> {
    if must_be_signed && is_signed(guard) != Ok(true) {
        return Err(io::Error::other(
            "the guard is not signed for Secure Boot, which is on: the firmware would not start it",
        ));
    }
    guards::write_copies(esp, volume_id, guard)
}
