//! A machine as `rayos-bootctl` sees it: a disk, the EFI variables, and what the guard said about
//! this boot.

use crate::boot::reconcile::{self, BootVars, Facts, Report, Warning};
use crate::boot::status::Status;
use crate::boot::transition::{self, Refusal};
use crate::boot::watch::{self, WATCH_FILE};
use crate::disk::device::{Access, FileDevice, OpenError, SectorSize};
use crate::disk::{Disk, DiskError, Window};
use crate::firmware::efivars::{EfiVars, VarError, VarName};
use crate::firmware::secure_boot::{SecureBoot, partition_is_signed};
use crate::state::log::EventLog;
use crate::state::store::{RecordStore, StoreError};
use crate::sysfs::{BlockDevices, DiskNode, FindError};
use record::event::{Event, Kind};
use record::{Choice, Handoff, Pair, Record, Slot, Text64, VENDOR};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a busy disk is waited for: other programs hold its lock for moments, an update for
/// longer.
const BUSY_WAIT: Duration = Duration::from_secs(10);
const BUSY_POLL: Duration = Duration::from_millis(50);

const NOT_VERIFIED: &str =
    "the running release has no root hash: a changed root file system would not be noticed";

/// Why an operation on a machine failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The system was not started by the guard.
    #[error("this system was not started by the boot guard: no variable RayosBoot of its making")]
    NotGuarded,
    /// The guard's variable cannot be read.
    #[error("variable RayosBoot: {0}")]
    Handoff(VarError),
    /// The disk was not found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The disk could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk has no usable partition table.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Device node or image.
        path: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// The boot record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What the guard said about this boot; `None` if it did not start this system. *Reads.*
///
/// # Errors
/// [`VarError`] other than that there are no EFI variables.
pub fn handoff(vars: &dyn EfiVars) -> Result<Option<Handoff>, VarError> {
    let name = VarName {
        name: Handoff::VARIABLE.to_owned(),
        vendor: VENDOR,
    };
    match vars.get(&name) {
        // Only the guard can set a variable that does not outlast the start: one with other
        // attributes may have been left behind by another system.
        Ok(found) => Ok(found
            .filter(|found| found.attributes == Handoff::ATTRIBUTES)
            .and_then(|found| Handoff::decode(&found.data))),
        Err(VarError::Unsupported) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A machine, running or offline.
pub struct Machine {
    /// Its disk.
    pub disk: Disk,
    /// The boot record on it.
    pub store: RecordStore,
    /// The event ring on it.
    pub log: EventLog,
    /// Its EFI variables.
    pub vars: Box<dyn EfiVars>,
    /// What the guard said; `None` offline.
    pub handoff: Option<Handoff>,
    /// The disk among those of the running system; `None` offline.
    pub node: Option<DiskNode>,
}

impl Machine {
    /// The machine that is running: the disk is the one that the guard named. *Reads.* To write,
    /// the disk's lock is waited for a while.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn running(
        vars: Box<dyn EfiVars>,
        devices: &BlockDevices,
        access: Access,
    ) -> Result<Self, MachineError> {
        let handoff = handoff(vars.as_ref())
            .map_err(MachineError::Handoff)?
            .ok_or(MachineError::NotGuarded)?;
        let node = devices.booted(&handoff)?;
        let path = node.path.clone();
        Ok(Self {
            handoff: Some(handoff),
            node: Some(node),
            ..Self::open(&path, vars, access)?
        })
    }

    /// Any disk or image, with any directory of variables. *Reads.*
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn open(path: &Path, vars: Box<dyn EfiVars>, access: Access) -> Result<Self, MachineError> {
        let device = open_when_free(path, access)?;
        let failed = |source| MachineError::Disk {
            path: path.to_owned(),
            source,
        };
        let disk = Disk::open(Arc::new(device)).map_err(failed)?;
        let store = RecordStore::open(&disk)?;
        let log = EventLog::open(&disk)?;
        Ok(Self {
            disk,
            store,
            log,
            vars,
            handoff: None,
            node: None,
        })
    }

    /// What is running; `None` offline.
    #[must_use]
    pub fn booted(&self) -> Option<Choice> {
        self.handoff.map(|handoff| handoff.choice)
    }

    /// What is running.
    ///
    /// # Errors
    /// [`MachineError::NotGuarded`] offline.
    pub fn require_booted(&self) -> Result<Choice, MachineError> {
        self.booted().ok_or(MachineError::NotGuarded)
    }

    /// What reconciling must know about the disk; `None` without an EFI system partition.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        self.disk.partitions().esp.map(|esp| Facts {
            esp,
            retired: Vec::new(),
        })
    }

    /// What can be known of it: record, story, and what stands in the way. *Reads.*
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = Status {
            handoff: self.handoff,
            ..Status::default()
        };
        status.watch = self
            .booted()
            .and_then(|_| watch::read(Path::new(WATCH_FILE), watch::uptime()));
        match self.store.read() {
            Ok(record) => status.record = Some(record),
            Err(error) => status.warnings.push(error.to_string()),
        }
        if matches!(self.store.pair(), Pair::Valid { both: false, .. }) {
            status
                .warnings
                .push("one of the two copies of the boot record is damaged".to_owned());
        }
        match self.log.events() {
            Ok(events) => status.events = events,
            Err(error) => status.warnings.push(error.to_string()),
        }
        if let Some(error) = self.disk.primary_error() {
            status.warnings.push(format!(
                "primary partition table: {error}; the backup is used"
            ));
        }
        match (
            BootVars::read(self.vars.as_ref()),
            &status.record,
            self.facts(),
        ) {
            (Err(error), ..) => status
                .warnings
                .push(format!("boot entries not looked at: {error}")),
            (Ok(vars), Some(record), Some(facts)) => {
                let due = reconcile::plan(record, &vars, &facts, self.booted());
                status.warnings.extend(
                    due.iter()
                        .map(|action| format!("boot entries differ: due: {action}")),
                );
            }
            _ => {}
        }
        let is_unverified = |handoff: Handoff| {
            matches!(handoff.choice, Choice::Slot(_)) && handoff.verified_root.is_none()
        };
        if self.handoff.is_some_and(is_unverified) {
            status.warnings.push(NOT_VERIFIED.to_owned());
        }
        match SecureBoot::read(self.vars.as_ref()) {
            Ok(found) => status.secure_boot = found,
            Err(error) => status.warnings.push(format!("Secure Boot: {error}")),
        }
        if let (Some(SecureBoot::On), Some(record)) = (status.secure_boot, status.record) {
            status.warnings.extend(self.unsigned(&record));
        }
        status
    }

    /// What Secure Boot, which is on, will not let start, in words. *Reads.* The guard itself is
    /// not looked at: that this system runs shows that the firmware accepts it.
    fn unsigned(&self, record: &Record) -> Vec<String> {
        let slots = Slot::ALL
            .into_iter()
            .filter(|slot| record.slot(*slot).is_bootable());
        let slots = slots.map(|slot| (format!("slot {slot}"), self.disk.boot(slot)));
        let all = slots.chain([("recovery".to_owned(), self.disk.recovery())]);
        let words = |(name, partition): (String, Result<Window, DiskError>)| {
            match partition_is_signed(&partition.ok()?) {
                Ok(true) => None,
                Ok(false) => Some(format!(
                    "Secure Boot is on, and the boot image of {name} is not signed for it: the firmware will not start it"
                )),
                Err(error) => Some(format!("boot image of {name}: {error}")),
            }
        };
        all.filter_map(words).collect()
    }

    /// Brings the boot entries in line with `record`. *Writes.*
    pub fn reconcile(&self, record: &Record) -> Report {
        match self.facts() {
            Some(facts) => reconcile::run(record, self.vars.as_ref(), &facts, self.booted()),
            None => Report {
                warning: Some(Warning::NoEsp),
                ..Report::default()
            },
        }
    }

    /// Declares the running system good, and brings the entries in line. *Writes*, durable on
    /// return. `time` is in seconds since 1970, 0 if unknown.
    ///
    /// # Errors
    /// [`MachineError`]; what happens to the second copy of the record, to the event and to the
    /// entries is no error.
    ///
    /// # Power loss
    /// Leaves a trial, or a release that is committed in one copy of the record or in both.
    pub fn commit(&self, time: u64) -> Result<Change, MachineError> {
        let booted = self.require_booted()?;
        let first =
            |before: &Record| matches!(booted, Choice::Slot(slot) if !before.slot(slot).is_good());
        self.change(time, Some(booted), |before| {
            let kind = first(before).then_some(Kind::Committed);
            Ok((transition::commit(before, booted)?, kind))
        })
    }

    /// Writes what this machine is into a record that does not say it: one that was rebuilt. A
    /// record that says it is left alone. *Writes*, durable on return. Returns whether it wrote.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn identify(&self, compatible: Text64) -> Result<bool, StoreError> {
        if compatible == Text64::EMPTY {
            return Ok(false);
        }
        let (before, after) = self.store.update(|record| {
            let unknown = record.compatible == Text64::EMPTY;
            Ok::<_, StoreError>(Record {
                compatible: if unknown {
                    compatible
                } else {
                    record.compatible
                },
                ..*record
            })
        })?;
        Ok(before.compatible != after.compatible)
    }

    /// Goes back to the other slot at the next boot. *Writes*, durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn rollback(&self, time: u64) -> Result<Change, MachineError> {
        let before = self.store.read()?;
        let booted = self.booted().unwrap_or(Choice::Slot(before.default));
        self.change(time, Some(booted), |before| {
            Ok((
                transition::rollback(before, booted)?,
                Some(Kind::RolledBack),
            ))
        })
    }

    /// Asks for `choice` at the next boot alone. *Writes*, durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn boot_once(&self, choice: Choice, time: u64) -> Result<Change, MachineError> {
        self.change(time, Some(choice), |before| {
            Ok((transition::boot_once(before, choice)?, Some(Kind::Note)))
        })
    }

    /// Rules a slot out. *Writes*, durable on return.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn mark_bad(&self, slot: Slot, time: u64) -> Result<Change, MachineError> {
        let subject = Some(Choice::Slot(slot));
        self.change(time, subject, |before| {
            Ok((transition::mark_bad(before, slot)?, Some(Kind::MarkedBad)))
        })
    }

    /// Appends an event about `subject`, with its release and the record's number filled in.
    /// *Writes*, durable on return.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note(
        &self,
        kind: Kind,
        subject: Option<Choice>,
        text: &str,
        time: u64,
    ) -> Result<(), StoreError> {
        let mut event = Event::new(kind, subject).with_text(text);
        if let Ok(record) = self.store.read() {
            event.record_seq = record.seq;
            if let Some(Choice::Slot(slot)) = subject {
                event.version = record.slot(slot).release.version;
            }
        }
        event.time = time;
        self.log.append(&event).map(|_| ())
    }

    fn change(
        &self,
        time: u64,
        subject: Option<Choice>,
        to: impl FnOnce(&Record) -> Result<(Record, Option<Kind>), Refusal>,
    ) -> Result<Change, MachineError> {
        let mut kind = None;
        let (before, after) = self.store.update(|before| {
            let (wanted, event) = to(before)?;
            kind = event;
            Ok::<_, MachineError>(wanted)
        })?;
        // From here on it is so, whether or not it also stands in the second copy.
        let copy = self.store.settle().err();
        let event = match kind {
            Some(kind) if after != before => {
                let text = if kind == Kind::Note {
                    "asked for at the next boot alone"
                } else {
                    ""
                };
                self.note(kind, subject, text, time).err()
            }
            _ => None,
        };
        let entries = self.reconcile(&after);
        Ok(Change {
            before,
            after,
            copy,
            event,
            entries,
        })
    }
}

/// What an operation did.
#[derive(Debug)]
pub struct Change {
    /// The record before it.
    pub before: Record,
    /// The record as it was written; the same if there was nothing to do.
    pub after: Record,
    /// Why what was decided stands in one copy of the record alone: it counts, but is lost with
    /// that copy.
    pub copy: Option<StoreError>,
    /// Why the event could not be appended. The story has a gap, the machine has none.
    pub event: Option<StoreError>,
    /// What was done to the boot entries.
    pub entries: Report,
}

impl Change {
    /// Whether anything was written.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != self.after || !self.entries.done.is_empty()
    }
}

fn open_when_free(path: &Path, access: Access) -> Result<FileDevice, OpenError> {
    let give_up = Instant::now() + BUSY_WAIT;
    loop {
        match FileDevice::open(path, access, SectorSize::Detect) {
            Err(OpenError::Busy(_)) if Instant::now() < give_up => thread::sleep(BUSY_POLL),
            done => return done,
        }
    }
}
