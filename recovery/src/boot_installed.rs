//! Booting the existing installation instead of the medium, for a firmware that prefers a medium
//! which was left in the machine.

use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::disk::{Disk, DiskError};
use bootctl::machine::Machine;
use bootctl::reconcile;
use bootctl::store::StoreError;
use installer::disk::choose::Target;
use installer::disk::choose::{Candidate, choose};
use installer::disk::safety::DiskContent;
use installer::install::media_fingerprint::{FingerprintError, MediaFingerprint};
use record::event::{Event, Kind};
use record::{Choice, Decision, Request, Tried, decide};
use std::path::PathBuf;
use std::sync::Arc;

/// Maximum number of restarts in a row. A firmware that ignores `BootNext` starts the medium each
/// time: after that the operator must remove it.
pub const MAX_RESTARTS: usize = 3;
/// The text of the event that counts them.
const NOTE: &str = "asked the firmware for it from the installation medium";

/// Why the installed system is not booted.
#[derive(Debug, thiserror::Error)]
pub enum BootInstalledError {
    /// The boot record or the event ring cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The guard would start recovery.
    #[error("no slot on it is bootable")]
    NoSlot,
    /// The disk has no EFI system partition.
    #[error("it has no EFI system partition")]
    NoEsp,
    /// The firmware started the medium each time.
    #[error("the firmware ignored BootNext {0} times and started the medium: remove the medium")]
    FirmwareIgnored(usize),
    /// EFI variables cannot be written.
    #[error(transparent)]
    Firmware(#[from] reconcile::Warning),
}

/// Returns the disk with an installation, if there is exactly one. *Pure.*
#[must_use]
pub fn only_installation(candidates: &[Candidate]) -> Option<&Candidate> {
    let mut found = candidates
        .iter()
        .filter(|it| matches!(it.content, Some(DiskContent::Installed { .. })));
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// It is not known whether this medium installed the chosen disk, so it is not erased.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: RayOS is installed, and whether from this medium is not known ({error}): to replace it, \
     run rayos-installer apply with --erase {id}",
    path.display()
)]
pub struct UnknownMedium {
    /// The disk.
    pub path: PathBuf,
    /// Id that confirms its erasure.
    pub id: String,
    /// Why it is not known.
    pub error: UnreadableFingerprint,
}

/// Why the fingerprint on a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableFingerprint {
    /// The disk cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its partition table cannot be read.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// Neither copy is readable.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
}

/// Returns the disk to boot instead of installing to it, and the reason. *Pure*, except for
/// `read_fingerprint`, which reads the chosen disk.
///
/// There is one if no disk can be installed to and exactly one contains an installation, or if the
/// chosen disk was installed from this medium: answers with `erase` would otherwise install again
/// at each boot.
///
/// # Errors
/// [`UnknownMedium`] if the chosen disk contains an installation whose fingerprint cannot be read.
pub fn existing_installation<'a>(
    candidates: &'a [Candidate],
    target: &Target,
    fingerprint: MediaFingerprint,
    read_fingerprint: impl Fn(&Candidate) -> Result<Option<MediaFingerprint>, UnreadableFingerprint>,
) -> Result<Option<(&'a Candidate, String)>, UnknownMedium> {
    let chosen = match choose(candidates, target) {
        Err(refusal) => {
            return Ok(only_installation(candidates).map(|disk| (disk, refusal.to_string())));
        }
        Ok(chosen) => chosen,
    };
    if !matches!(chosen.content, Some(DiskContent::Installed { .. })) {
        return Ok(None);
    }
    let path = &chosen.disk.path;
    let found = read_fingerprint(chosen).map_err(|error| UnknownMedium {
        path: path.clone(),
        id: chosen.disk.id().to_owned(),
        error,
    })?;
    if found != Some(fingerprint) {
        return Ok(None);
    }
    let why = format!(
        "{} was installed from this medium. To install again, change its install.toml.",
        path.display()
    );
    Ok(Some((chosen, why)))
}

/// Reads the fingerprint on a disk of this machine; `None` for an installation without a medium.
/// *Reads.*
///
/// # Errors
/// [`UnreadableFingerprint`].
pub fn read_fingerprint(
    candidate: &Candidate,
) -> Result<Option<MediaFingerprint>, UnreadableFingerprint> {
    let device = FileDevice::open(&candidate.disk.path, Access::Read, SectorSize::Detect)?;
    Ok(MediaFingerprint::read(&Disk::open(Arc::new(device))?)?)
}

/// Asks the firmware to boot the installation on `machine` next; the caller restarts. *Writes* one
/// event, and boot variables, `BootNext` last; durable on return. `time` is in seconds since 1970.
///
/// The guard on that disk logs every start in the event ring. Requests without a start are counted
/// there, so that no firmware can make the medium restart for ever.
///
/// # Errors
/// [`BootInstalledError`].
///
/// # Power loss
/// The request may be counted and not made; the next boot makes it again.
pub fn request_boot(machine: &Machine, time: u64) -> Result<Choice, BootInstalledError> {
    let record = machine.store.read()?;
    let Decision::Launch {
        choice: choice @ Choice::Slot(slot),
        ..
    } = decide(&record, Request::Plain, Tried::default())
    else {
        return Err(BootInstalledError::NoSlot);
    };
    let facts = machine.facts().ok_or(BootInstalledError::NoEsp)?;
    let events = machine.log.events()?;
    let since_start = events
        .iter()
        .rev()
        .take_while(|event| event.kind != Kind::Launched);
    let restarts = since_start
        .filter(|event| event.kind == Kind::Note && event.text() == NOTE)
        .count();
    if restarts >= MAX_RESTARTS {
        return Err(BootInstalledError::FirmwareIgnored(restarts));
    }
    let mut event = Event::new(Kind::Note, Some(choice)).with_text(NOTE);
    event.version = record.slot(slot).release.version;
    event.record_seq = record.seq;
    event.time = time;
    machine.log.append(&event)?;
    reconcile::ask_next(&record, machine.vars.as_ref(), &facts, choice)?;
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use installer::disk::disks::sample;

    fn candidate(place: usize, content: DiskContent) -> Candidate {
        Candidate {
            disk: sample()[place].clone(),
            content: Some(content),
            problems: Vec::new(),
            plan: None,
        }
    }

    #[test]
    fn one_installation_is_found_and_of_two_neither() {
        let ours = || DiskContent::Installed {
            version: "1.0.0".to_owned(),
        };
        let (blank, first, second) = (
            candidate(0, DiskContent::Blank),
            candidate(0, ours()),
            candidate(1, ours()),
        );
        assert_eq!(
            only_installation(&[blank.clone(), second.clone()]),
            Some(&second)
        );
        assert_eq!(only_installation(&[first, second]), None);
        assert_eq!(only_installation(&[blank]), None);
    }

    #[test]
    fn an_installation_of_this_medium_is_booted_and_another_one_is_replaced() {
        let ours = candidate(
            0,
            DiskContent::Installed {
                version: "1.0.0".to_owned(),
            },
        );
        let unfinished = candidate(0, DiskContent::Unfinished);
        let (medium, other) = (
            MediaFingerprint::of(b"erase", b"seal"),
            MediaFingerprint::of(b"erase ", b"seal"),
        );
        let existing = |candidate: &Candidate, mark| {
            let candidates = [candidate.clone()];
            existing_installation(&candidates, &Target::OnlyBlankDisk, medium, |_| Ok(mark))
                .expect("readable")
                .map(|(_, why)| why)
        };
        let why = existing(&ours, Some(medium)).unwrap();
        assert!(why.contains("was installed from this medium"), "{why}");
        assert_eq!(existing(&ours, Some(other)), None);
        assert_eq!(existing(&ours, None), None);
        assert_eq!(
            existing(&unfinished, Some(medium)),
            None,
            "an interrupted installation is continued"
        );
        let refused = Candidate {
            problems: vec!["RayOS 1.0.0 is installed on it".to_owned()],
            ..ours
        };
        assert!(
            existing(&refused, None)
                .unwrap()
                .contains("RayOS 1.0.0 is installed on it")
        );
    }

    #[test]
    fn an_installation_whose_fingerprint_cannot_be_read_is_not_replaced() {
        let content = DiskContent::Installed {
            version: "1.0.0".to_owned(),
        };
        let candidates = [candidate(0, content)];
        let medium = MediaFingerprint::of(b"erase", b"seal");
        let lost = |_: &Candidate| Err(FingerprintError::Differ.into());
        let stopped = existing_installation(&candidates, &Target::OnlyBlankDisk, medium, lost);
        assert_eq!(
            stopped.unwrap_err().to_string(),
            "/dev/nvme0n1: RayOS is installed, and whether from this medium is not known (media \
             fingerprint: the two copies differ): to replace it, run rayos-installer apply with \
             --erase SAMPLE-NVME-0001"
        );
    }
}
