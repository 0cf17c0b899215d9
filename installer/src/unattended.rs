//! The whole installation without a person: from an answers file and a medium to an installed disk.

use crate::answers::Answers;
use crate::choose::{Candidate, NoChoice, candidates, choose};
use crate::disks::{self, Disk, Roots};
use crate::install::{InstallError, Job, Others, install_announced};
use crate::mark::Mark;
use crate::safety;
use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::efivars::EfiVars;
use record::{Guid, Text64};
use seal::Trust;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use updater::apply::Report;
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
    Choice(#[from] NoChoice),
    /// The disk is no longer what was chosen.
    #[error("{}: another disk, or other content, than when it was chosen: nothing was changed", .0.display())]
    Exchanged(PathBuf),
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
pub struct Surroundings<'a> {
    /// The kernel's views of the machine.
    pub roots: Roots,
    /// Kernel names of the disks that the installation medium is on.
    pub media: Vec<String>,
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
    pub medium: Option<Mark>,
}

/// Every disk, judged for an installation with `answers`. *Reads.*
///
/// # Errors
/// What listing the disks says.
pub fn survey(answers: &Answers, roots: &Roots, media: &[String]) -> io::Result<Vec<Candidate>> {
    let look = |disk: &Disk| {
        let device = FileDevice::open(&disk.path, Access::Read, SectorSize::Detect).ok()?;
        safety::look(&(Arc::new(device) as _)).ok()
    };
    Ok(candidates(
        disks::enumerate(roots)?,
        &answers.wanted(media),
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
    around: &Surroundings<'_>,
    events: &dyn EventSink,
    writing: impl FnOnce(&PathBuf),
) -> Result<Report, UnattendedError> {
    let candidates = survey(answers, &around.roots, &around.media)?;
    let chosen = choose(&candidates, &answers.target)?;
    let disk = &chosen.disk;
    let source = AnySource::new(&around.bundle, HttpOptions::default())?;
    let device = Arc::new(FileDevice::open(
        &disk.path,
        Access::Claim,
        SectorSize::Detect,
    )?);
    // The name may have gone to another disk since. Now that it is held open it stays with this one.
    let again = survey(answers, &around.roots, &around.media)?;
    if !again.iter().any(|found| found == chosen) {
        return Err(UnattendedError::Exchanged(disk.path.clone()));
    }
    let job = Job {
        device,
        layout: &answers.layout,
        install_id: around.install_id,
        compatible: Some(around.compatible),
        trust: around.trust,
        vars: around.vars,
        jobs: around.jobs,
        now: around.now,
        others: Others {
            beside: answers.beside,
            forget_floor: answers.forget_floor,
            medium: around.medium,
        },
    };
    Ok(install_announced(source, &job, events, || writing(&disk.path)).await?)
}
