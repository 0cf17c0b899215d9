//! The stick kept plugged in, and the firmware prefers it: what is installed already is started
//! instead of being refused again and again.

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::machine::Machine;
use bootctl::reconcile;
use bootctl::store::StoreError;
use installer::disk::choose::Target;
use installer::disk::choose::{Candidate, choose};
use installer::disk::safety::DiskContent;
use installer::install::media_fingerprint::MediaFingerprint;
use record::event::{Event, Kind};
use record::{Choice, Decision, Request, Tried, decide};
use std::sync::Arc;

/// How often in a row the machine is restarted for it. A firmware that does not heed `BootNext`
/// comes back here each time: after that a person has to pull the stick.
pub const MAX_RESTARTS: usize = 3;
/// The text of the event that counts them.
const NOTE: &str = "asked the firmware for it from the installation medium";

/// Why the installed system is not started from here.
#[derive(Debug, thiserror::Error)]
pub enum BootInstalledError {
    /// Record or event ring cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The guard would start recovery.
    #[error("no slot on it can be started")]
    NoSlot,
    /// The disk has no EFI system partition.
    #[error("it has no EFI system partition")]
    NoEsp,
    /// The firmware came back to the medium each time.
    #[error(
        "the firmware was asked for it {0} times and started the medium again: remove the medium"
    )]
    FirmwareIgnored(usize),
    /// The firmware's variables cannot be written.
    #[error(transparent)]
    Firmware(#[from] reconcile::Warning),
}

/// The disk with an installation, if there is exactly one. *Pure.*
#[must_use]
pub fn only_installation(candidates: &[Candidate]) -> Option<&Candidate> {
    let mut found = candidates
        .iter()
        .filter(|it| matches!(it.content, Some(DiskContent::Installed { .. })));
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// The disk that is started instead of being installed to, and why. *Pure*, but for `read_fingerprint`,
/// which is asked what stands on the chosen disk.
///
/// Either nothing can be installed to, and one disk holds an installation; or the chosen one holds
/// what this very medium installed. Answers with `erase` would have it installed anew at each start
/// otherwise.
#[must_use]
pub fn existing_installation<'a>(
    candidates: &'a [Candidate],
    target: &Target,
    medium: MediaFingerprint,
    read_fingerprint: impl Fn(&Candidate) -> Option<MediaFingerprint>,
) -> Option<(&'a Candidate, String)> {
    match choose(candidates, target) {
        Err(refusal) => Some((only_installation(candidates)?, refusal.to_string())),
        Ok(chosen) => {
            let holds = matches!(chosen.content, Some(DiskContent::Installed { .. }));
            let path = chosen.disk.path.display();
            let why = || {
                format!(
                    "{path} was installed from this medium. To install anew, change anything in its install.toml."
                )
            };
            (holds && read_fingerprint(chosen) == Some(medium)).then(|| (chosen, why()))
        }
    }
}

/// The mark on a disk of this machine. *Reads.* One that cannot be read is none.
#[must_use]
pub fn read_fingerprint(candidate: &Candidate) -> Option<MediaFingerprint> {
    let device = FileDevice::open(&candidate.disk.path, Access::Read, SectorSize::Detect).ok()?;
    MediaFingerprint::read(&Disk::open(Arc::new(device)).ok()?)
        .ok()
        .flatten()
}

/// Asks the firmware to start what is installed on `machine` at the next boot. The caller restarts.
/// `time` is in seconds since 1970. *Writes*: one event, and the variables that are due, `BootNext`
/// last; durable on return.
///
/// The guard on that disk notes every start in the event ring. So the restarts that came to nothing
/// are counted there, on the disk, and no firmware can make this go on forever.
///
/// # Errors
/// [`BootInstalledError`].
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
    fn one_installation_is_meant_and_of_two_none() {
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
    fn what_this_medium_installed_is_started_and_what_another_one_did_is_erased() {
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
            existing_installation(&candidates, &Target::OnlyBlankDisk, medium, |_| mark)
                .map(|(_, why)| why)
        };
        let why = existing(&ours, Some(medium)).unwrap();
        assert!(why.contains("was installed from this medium"), "{why}");
        assert_eq!(existing(&ours, Some(other)), None);
        assert_eq!(existing(&ours, None), None);
        assert_eq!(
            existing(&unfinished, Some(medium)),
            None,
            "cut off: it goes on"
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
}
