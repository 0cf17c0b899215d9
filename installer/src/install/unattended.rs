//! The whole installation without a person: from an answers file and a medium to an installed disk.

use crate::disk::choose::{Candidate, ChoiceError, candidates, choose};
use crate::disk::disks::{self, Disk, Roots};
use crate::disk::safety;
use crate::install::answers::Answers;
use crate::install::media_fingerprint::MediaFingerprint;
use crate::install::{InstallError, InstallOptions, InstallRequest, install_announced};
use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::efivars::EfiVars;
use record::{Guid, Text64};
use seal::Trust;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use updater::Report;
use updater::events::EventSink;
use updater::source::{AnySource, HttpOptions, Location, SourceError};

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum UnattendedError {
    /// The disks could not be listed.
    #[error("list of disks: {0}")]
    Disks(#[from] io::Error),
    /// No disk can be taken.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The disk is no longer what was chosen.
    #[error("{}: another disk, or other content, than when it was chosen: nothing was changed", .0.display())]
    DiskChanged(PathBuf),
    /// The disk could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The bundle could not be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The installation itself failed.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// What the answers do not say.
pub struct Environment<'a> {
    /// The kernel's views of the machine.
    pub roots: Roots,
    /// Kernel names of the disks that the installation medium is on.
    pub media_disks: Vec<String>,
    /// Where the bundle is.
    pub bundle: Location,
    /// Who is trusted.
    pub trust: &'a Trust,
    /// What this machine accepts.
    pub compatible: Text64,
    /// A random number: the identity of this installation.
    pub install_id: Guid,
    /// The machine's EFI variables.
    pub vars: Option<&'a dyn EfiVars>,
    /// Seconds since 1970.
    pub now: u64,
    /// Threads.
    pub jobs: usize,
    /// The medium that this system was started from, if it was.
    pub fingerprint: Option<MediaFingerprint>,
}

/// Every disk, judged for an installation with `answers`. *Reads.*
///
/// # Errors
/// What listing the disks says.
pub fn assess_disks(
    answers: &Answers,
    roots: &Roots,
    media: &[String],
) -> io::Result<Vec<Candidate>> {
    let look = |disk: &Disk| {
        let device = FileDevice::open(&disk.path, Access::Read, SectorSize::Detect).ok()?;
        safety::inspect(&(Arc::new(device) as _)).ok()
    };
    Ok(candidates(
        disks::enumerate(roots)?,
        &answers.disk_request(media),
        look,
    ))
}

/// Chooses the disk and installs. *Writes*; see [`install_announced`], which calls `writing` with
/// the disk.
///
/// # Errors
/// [`UnattendedError`].
pub async fn run(
    answers: &Answers,
    environment: &Environment<'_>,
    events: &dyn EventSink,
    writing: impl FnOnce(&PathBuf),
) -> Result<Report, UnattendedError> {
    let candidates = assess_disks(answers, &environment.roots, &environment.media_disks)?;
    let chosen = choose(&candidates, &answers.target)?;
    let disk = &chosen.disk;
    let source = AnySource::new(&environment.bundle, HttpOptions::default())?;
    let device = Arc::new(FileDevice::open(
        &disk.path,
        Access::Claim,
        SectorSize::Detect,
    )?);
    // The name may have gone to another disk since. Now that it is held open it kept with this one.
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
    Ok(install_announced(source, &request, events, || writing(&disk.path)).await?)
}
