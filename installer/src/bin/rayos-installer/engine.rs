//! The writes that the interactive installer orders, in a thread of their own.

use crate::exit_code::exit_status;
use anyhow::{Context as _, Result, bail};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs, NoVars};
use bootctl::machine::Machine;
use bootctl::secure_boot::SecureBoot;
use cli::ExitStatus;
use installer::disk::disks::Roots;
use installer::esp::guards::{Guard, missing_copies};
use installer::host::{block_on, jobs, random_guid};
use installer::install::answers::Answers;
use installer::install::unattended::{self, Environment, UnattendedError};
use installer::interactive::model::{Harm, Outcome, WriteOrder};
use installer::interactive::session::Needs;
use installer::media::images;
use record::{Choice, Text64};
use seal::{SEAL_LEN, Trust};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use updater::events::EventSink;
use updater::guard_keys::machine_chain;
use updater::source::{AnySource, HttpOptions, Location, Retries};
use updater::{ApplyFailure, Incoming, Options, Report, TargetMachine};

/// A release that can be installed.
pub(crate) struct Engine {
    /// The mount points of the machine.
    pub(crate) roots: Roots,
    /// Kernel names of the disks with the medium.
    pub(crate) media: Vec<String>,
    /// The bundle.
    pub(crate) bundle: Location,
    /// Keys that may sign it.
    pub(crate) trust: Trust,
    /// Hardware name of the machine.
    pub(crate) compatible: Text64,
    /// Whether this machine's EFI variables are used.
    pub(crate) has_variables: bool,
}

/// What the head of a bundle says.
pub(crate) struct Head {
    /// Version of the release.
    pub(crate) version: String,
    /// Bytes of its images.
    pub(crate) needs: Needs,
    /// The first hardware name that it fits.
    pub(crate) compatible: Option<String>,
}

/// Reads and verifies the head of a bundle.
pub(crate) fn head(bundle: &Location, trust: &Trust) -> Result<Head> {
    let source = AnySource::new(bundle, HttpOptions::default())?;
    let opened = async {
        let on_retry = |_: &_, _| {};
        let incoming = Incoming::open(source, trust, Retries::default(), &on_retry).await?;
        Ok::<_, updater::ApplyError>(Arc::clone(incoming.release()))
    };
    let release = block_on(opened)?.with_context(|| bundle.to_string())?;
    let manifest = release.manifest();
    let size = |role: &str| {
        let found = manifest
            .images
            .iter()
            .find(|image| image.role.as_str() == role);
        found.map_or(0, |image| image.size)
    };
    let sealed = |size: u64| if size == 0 { 0 } else { size + SEAL_LEN as u64 };
    Ok(Head {
        version: manifest.version.clone(),
        needs: Needs {
            boot: sealed(size("boot")),
            root: size("root"),
            recovery: sealed(size("recovery")),
        },
        compatible: manifest.compatible.first().cloned(),
    })
}

impl Engine {
    /// Runs `order`; calls `announce` with the path of the disk before an installation writes to it.
    pub(crate) fn write(
        &self,
        order: &WriteOrder,
        events: &dyn EventSink,
        announce: &dyn Fn(&Path),
    ) -> (Outcome, ExitStatus) {
        let done = match order {
            WriteOrder::Install(answers) => self.install(answers, events, announce),
            WriteOrder::Renew(disk) => self.renew(disk, events),
            WriteOrder::RepairGuard(disk) => self.repair_guard(disk),
        };
        match done {
            Ok(outcome) => (outcome, ExitStatus::Success),
            Err(error) => {
                let status = exit_status(&error);
                let harm = harm(order, &error, status);
                let error = format!("{error:#}");
                (Outcome::Failed { error, harm }, status)
            }
        }
    }

    fn install(
        &self,
        answers: &Answers,
        events: &dyn EventSink,
        announce: &dyn Fn(&Path),
    ) -> Result<Outcome> {
        let vars = self.variables();
        let environment = Environment {
            roots: self.roots.clone(),
            media_disks: self.media.clone(),
            bundle: self.bundle.clone(),
            trust: &self.trust,
            compatible: self.compatible,
            install_id: random_guid()?,
            vars: vars.as_ref().map(|vars| vars as &dyn EfiVars),
            now: cli::clock::now(),
            jobs: jobs(),
            fingerprint: None,
            may_forget_floor: false,
        };
        let announce = |disk: &PathBuf| announce(disk);
        let report = block_on(unattended::run(answers, &environment, events, announce))??;
        Ok(activated(report))
    }

    /// Applies the release to the other slot of the installation on `disk`.
    fn renew(&self, disk: &Path, events: &dyn EventSink) -> Result<Outcome> {
        let vars: Box<dyn EfiVars> = match self.variables() {
            Some(vars) => Box::new(vars),
            None => Box::new(NoVars),
        };
        let machine = Machine::open(disk, vars, Access::Write)?;
        let booted = machine.booted().unwrap_or(Choice::Recovery);
        let target = TargetMachine {
            vars: self.has_variables.then_some(machine.vars.as_ref()),
            booted,
            disk: machine.disk,
            store: machine.store,
            now: cli::clock::now(),
        };
        let record = target.store.read().ok();
        let trust = machine_chain(&target.disk, record.as_ref(), self.trust.clone());
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: record::TRIAL_TRIES,
            read_back: true,
            adaptive: true,
            jobs: jobs(),
            retries: Retries::default(),
            if_newer: false,
            plan_only: false,
        };
        let source = AnySource::new(&self.bundle, HttpOptions::default())?;
        let outcome = block_on(async {
            let on_retry = |_: &_, _| {};
            let incoming = Incoming::open(source, &trust, Retries::default(), &on_retry);
            let incoming = incoming.await?;
            incoming.apply(&target, &options, events).await
        })??;
        Ok(match outcome {
            updater::Outcome::Activated(report) => activated(report),
            updater::Outcome::UpToDate(_)
            | updater::Outcome::NotNewer(_)
            | updater::Outcome::Planned(..) => Outcome::UpToDate,
        })
    }

    /// Rewrites the damaged copies of the boot guard on `disk`.
    fn repair_guard(&self, disk: &Path) -> Result<Outcome> {
        let Location::File(bundle) = &self.bundle else {
            bail!("{}: the guard is read from a file only", self.bundle);
        };
        let images = block_on(images(bundle, &self.trust))??;
        let device = FileDevice::open(disk, Access::Write, SectorSize::Detect)?;
        let opened = Disk::open(Arc::new(device)).with_context(|| disk.display().to_string())?;
        if missing_copies(&opened.esp()?, &images.guard).is_empty() {
            return Ok(Outcome::Repaired(Vec::new()));
        }
        let guard = Guard {
            program: &images.guard,
            rollback_index: images.rollback_index,
            compatible: &images.compatible,
        };
        let must_be_signed = self
            .variables()
            .is_some_and(|vars| SecureBoot::is_on(&vars));
        let written = guard.repair(&opened, must_be_signed, false)?;
        Ok(Outcome::Repaired(
            written.into_iter().map(str::to_owned).collect(),
        ))
    }

    fn variables(&self) -> Option<Efivarfs> {
        let vars = || Efivarfs::new(Path::new(EFIVARS_DIR));
        self.has_variables.then(vars)
    }
}

fn activated(report: Report) -> Outcome {
    Outcome::Activated {
        version: report.version,
        slot: report.slot.to_ascii_uppercase(),
        tries: report.tries,
    }
}

fn harm(order: &WriteOrder, error: &anyhow::Error, status: ExitStatus) -> Harm {
    let install = || match error.downcast_ref::<UnattendedError>() {
        Some(UnattendedError::Install(error)) => !error.disk_is_unchanged(),
        _ => false,
    };
    let is_emptied = || {
        let failure = error.downcast_ref::<ApplyFailure>();
        failure.is_some_and(|failure| failure.disarmed.is_some())
    };
    match order {
        WriteOrder::Install(_) if install() => Harm::Changed,
        WriteOrder::Renew(_) if is_emptied() => Harm::SlotEmptied,
        WriteOrder::RepairGuard(_) if status == ExitStatus::Failed => Harm::Changed,
        _ => Harm::Unchanged,
    }
}
