//! Unattended installation: from an answers file and a medium to an installed disk.

use super::answers::Answers;
use super::error::InstallError;
use super::media_fingerprint::MediaFingerprint;
use super::procedure::install_announced;
use super::request::{InstallOptions, InstallRequest};
use crate::disk::choose::{Candidate, ChoiceError, candidates, choose};
use crate::disk::disks::{self, Disk, Roots};
use crate::disk::safety;
use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::efivars::EfiVars;
use bootctl::sysfs::FindError;
use record::{Guid, Text64};
use seal::Trust;
use std::path::PathBuf;
use std::sync::Arc;
use updater::Report;
use updater::events::EventSink;
use updater::source::{AnySource, HttpOptions, Location, SourceError};

/// Why an unattended installation failed.
#[derive(Debug, thiserror::Error)]
pub enum UnattendedError {
    /// The answers give up the rollback floor, and no person confirmed it. No disk was read.
    #[error(
        "install.toml: forget_floor is confirmed by a person only: run rayos-installer apply with \
         --forget-floor"
    )]
    ForgetFloor,
    /// The disks cannot be listed.
    #[error("list of disks: {0}")]
    Disks(#[from] FindError),
    /// No disk can be chosen.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The disk is not the one that was chosen. It is unchanged.
    #[error("{}: disk or content changed after it was chosen", .0.display())]
    DiskChanged(PathBuf),
    /// The disk cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The bundle cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The installation failed.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Facts about the machine and the medium that the answers file does not contain.
pub struct Environment<'a> {
    /// Mount points of sysfs, procfs and devtmpfs.
    pub roots: Roots,
    /// Kernel names of the disks with the installation medium.
    pub media_disks: Vec<String>,
    /// Location of the bundle.
    pub bundle: Location,
    /// Keys that may sign the release.
    pub trust: &'a Trust,
    /// Hardware name of the machine.
    pub compatible: Text64,
    /// Identity of the installation; a random number.
    pub install_id: Guid,
    /// EFI variables of the machine.
    pub vars: Option<&'a dyn EfiVars>,
    /// Time of day, in seconds since 1970.
    pub now: u64,
    /// Number of threads.
    pub jobs: usize,
    /// Fingerprint of the medium; `None` without a medium.
    pub fingerprint: Option<MediaFingerprint>,
    /// A person at the console agrees to give up the rollback floor. Answers are not signed: the
    /// owner of a stick is not the owner of the machine.
    pub may_forget_floor: bool,
}

/// Returns every disk, assessed for an installation with `answers`. *Reads.*
///
/// # Errors
/// [`FindError`] if the disks cannot be listed.
pub fn assess_disks(
    answers: &Answers,
    roots: &Roots,
    media: &[String],
) -> Result<Vec<Candidate>, FindError> {
    let inspect = |disk: &Disk| {
        let device = FileDevice::open(&disk.path, Access::Read, SectorSize::Detect);
        let device = device.map_err(|error| error.to_string())?;
        safety::inspect(&(Arc::new(device) as _)).map_err(|error| error.to_string())
    };
    Ok(candidates(
        disks::enumerate(roots)?,
        &answers.disk_request(media),
        inspect,
    ))
}

/// Chooses a disk and installs to it; calls `announce` with its path just before the first byte is
/// written. *Writes*, durable on return.
///
/// # Errors
/// [`UnattendedError`].
///
/// # Power loss
/// As [`super::install`].
pub async fn run(
    answers: &Answers,
    environment: &Environment<'_>,
    events: &dyn EventSink,
    announce: impl FnOnce(&PathBuf),
) -> Result<Report, UnattendedError> {
    if answers.forget_floor && !environment.may_forget_floor {
        return Err(UnattendedError::ForgetFloor);
    }
    let candidates = assess_disks(answers, &environment.roots, &environment.media_disks)?;
    let chosen = choose(&candidates, &answers.target)?;
    let disk = &chosen.disk;
    let source = AnySource::new(&environment.bundle, HttpOptions::default())?;
    let device = Arc::new(FileDevice::open(
        &disk.path,
        Access::Claim,
        SectorSize::Detect,
    )?);
    // The name may have moved to another disk. It stays with this one while the disk is open.
    let again = assess_disks(answers, &environment.roots, &environment.media_disks)?;
    if !again.iter().any(|found| found == chosen) {
        return Err(UnattendedError::DiskChanged(disk.path.clone()));
    }
    let request = InstallRequest {
        device,
        layout: &answers.layout,
        install_id: environment.install_id,
        compatible: Some(environment.compatible),
        trust: environment.trust,
        vars: environment.vars,
        jobs: environment.jobs,
        now: environment.now,
        options: InstallOptions {
            beside: answers.beside,
            forget_floor: answers.forget_floor,
            fingerprint: environment.fingerprint,
        },
    };
    Ok(install_announced(source, &request, events, || announce(&disk.path)).await?)
}
