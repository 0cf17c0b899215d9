//! The stick stays plugged in, and the firmware prefers it: what is installed already is started
//! instead of being refused again and again.

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::machine::Machine;
use bootctl::reconcile;
use bootctl::store::StoreError;
use installer::disk::choose::Target;
use installer::disk::choose::{Candidate, choose};
use installer::disk::safety::Content;
use installer::install::media_fingerprint::Mark;
use record::event::{Event, Kind};
use record::{Choice, Decision, Request, Tried, decide};
use std::sync::Arc;

/// How often in a row the machine is restarted for it. A firmware that does not heed `BootNext`
/// comes back here each time: after that a person has to pull the stick.
pub const RESTARTS: usize = 3;
/// The text of the event that counts them.
const NOTE: &str = "asked the firmware for it from the installation medium";

/// Why the installed system is not started from here.
#[derive(Debug, thiserror::Error)]
pub enum OnwardError {
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
    Again(usize),
    /// The firmware's variables cannot be written.
    #[error(transparent)]
    Firmware(#[from] reconcile::Warning),
}

/// The disk with an installation, if there is exactly one. *Pure.*
#[must_use]
pub fn installed(candidates: &[Candidate]) -> Option<&Candidate> {
    let mut found = candidates
        .iter()
        .filter(|it| matches!(it.content, Some(Content::Installed { .. })));
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// The disk that is started instead of being installed to, and why. *Pure*, but for `mark_of`,
/// which is asked what stands on the chosen disk.
///
/// Either nothing can be installed to, and one disk holds an installation; or the chosen one holds
/// what this very medium installed. Answers with `erase` would have it installed anew at each start
/// otherwise.
#[must_use]
pub fn instead<'a>(
    candidates: &'a [Candidate],
    target: &Target,
    medium: Mark,
    mark_of: impl Fn(&Candidate) -> Option<Mark>,
) -> Option<(&'a Candidate, String)> {
    match choose(candidates, target) {
        Err(refusal) => Some((installed(candidates)?, refusal.to_string())),
        Ok(chosen) => {
            let holds = matches!(chosen.content, Some(Content::Installed { .. }));
            let path = chosen.disk.path.display();
            let why = || {
                format!(
                    "{path} was installed from this medium. To install anew, change anything in its install.toml."
                )
            };
            (holds && mark_of(chosen) == Some(medium)).then(|| (chosen, why()))
        }
    }
}

/// The mark on a disk of this machine. *Reads.* One that cannot be read is none.
#[must_use]
pub fn mark_of(candidate: &Candidate) -> Option<Mark> {
    let device = FileDevice::open(&candidate.disk.path, Access::Read, SectorSize::Detect).ok()?;
    Mark::read(&Disk::open(Arc::new(device)).ok()?)
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
/// [`OnwardError`].
pub fn prepare(machine: &Machine, time: u64) -> Result<Choice, OnwardError> {
    let record = machine.store.read()?;
    let Decision::Launch {
        choice: choice @ Choice::Slot(slot),
        ..
    } = decide(&record, Request::Plain, Tried::default())
    else {
        return Err(OnwardError::NoSlot);
    };
    let facts = machine.facts().ok_or(OnwardError::NoEsp)?;
    let events = machine.log.events()?;
    let since_start = events
        .iter()
        .rev()
        .take_while(|event| event.kind != Kind::Launched);
    let restarts = since_start
        .filter(|event| event.kind == Kind::Note && event.text() == NOTE)
        .count();
    if restarts >= RESTARTS {
        return Err(OnwardError::Again(restarts));
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

    fn candidate(place: usize, content: Content) -> Candidate {
        Candidate {
            disk: sample()[place].clone(),
            content: Some(content),
            problems: Vec::new(),
            plan: None,
        }
    }

    #[test]
    fn one_installation_is_meant_and_of_two_none() {
        let ours = || Content::Installed {
            version: "1.0.0".to_owned(),
        };
        let (blank, first, second) = (
            candidate(0, Content::Blank),
            candidate(0, ours()),
            candidate(1, ours()),
        );
        assert_eq!(installed(&[blank.clone(), second.clone()]), Some(&second));
        assert_eq!(installed(&[first, second]), None);
        assert_eq!(installed(&[blank]), None);
    }

    #[test]
    fn what_this_medium_installed_is_started_and_what_another_one_did_is_erased() {
        let ours = candidate(
            0,
            Content::Installed {
                version: "1.0.0".to_owned(),
            },
        );
        let unfinished = candidate(0, Content::Unfinished);
        let (medium, other) = (Mark::of(b"erase", b"seal"), Mark::of(b"erase ", b"seal"));
        let instead = |candidate: &Candidate, mark| {
            let candidates = [candidate.clone()];
            instead(&candidates, &Target::OnlyBlankDisk, medium, |_| mark).map(|(_, why)| why)
        };
        let why = instead(&ours, Some(medium)).unwrap();
        assert!(why.contains("was installed from this medium"), "{why}");
        assert_eq!(instead(&ours, Some(other)), None);
        assert_eq!(instead(&ours, None), None);
        assert_eq!(
            instead(&unfinished, Some(medium)),
            None,
            "cut off: it goes on"
        );
        let refused = Candidate {
            problems: vec!["RayOS 1.0.0 is installed on it".to_owned()],
            ..ours
        };
        assert!(
            instead(&refused, None)
                .unwrap()
                .contains("RayOS 1.0.0 is installed on it")
        );
    }
}
