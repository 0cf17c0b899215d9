//! All that can be known about a machine.

use super::change::UNCHECKED;
use super::open::Machine;
use crate::boot::reconcile::{self, BootVars, MAX_ACTIONS, Warning};
use crate::boot::status::MachineStatus;
use crate::boot::watch::{self, WATCH_FILE};
use crate::disk::TableRepair;
use crate::firmware::efivars::VarName;
use crate::firmware::secure_boot::{SecureBoot, partition_is_signed};
use record::event::{Event, Kind};
use record::{Choice, Handoff, Pair, PartitionName, Record, Slot, VENDOR, WATCHDOG_VARIABLE};
use std::path::Path;

impl Machine {
    /// Returns all that can be known about the machine. *Reads.* A part that cannot be read is
    /// missing, and a warning says why.
    #[must_use]
    pub fn status(&self) -> MachineStatus {
        let mut warnings = Vec::new();
        let mut or_warn = Warnings(&mut warnings);
        let record = or_warn.take(self.store.read());
        let events = or_warn.take(self.log.events());
        let secure_boot =
            SecureBoot::read(self.vars.as_ref()).map_err(|error| format!("Secure Boot: {error}"));
        let secure_boot = or_warn.take(secure_boot).flatten();
        warnings.extend(self.damage());
        warnings.extend(self.unverified_root());
        warnings.extend(self.unwatched());
        if let Some(record) = &record {
            warnings.extend(unchecked(record, events.as_deref().unwrap_or_default()));
            warnings.extend(self.entries_due(record));
            if secure_boot == Some(SecureBoot::On) {
                warnings.extend(self.unsigned_images(record));
            }
        }
        let watch = self
            .booted()
            .and_then(|_| watch::read(Path::new(WATCH_FILE), watch::uptime()));
        MachineStatus {
            handoff: self.handoff,
            record,
            events: events.unwrap_or_default(),
            watch,
            secure_boot,
            warnings,
        }
    }

    /// Returns a warning for each redundant copy that is damaged.
    fn damage(&self) -> Vec<String> {
        let mut found = Vec::new();
        if matches!(self.store.pair(), Pair::Valid { both: false, .. }) {
            found.push("one of the two copies of the boot record is damaged".to_owned());
        }
        found.extend(TableRepair::plan(&self.disk).faults);
        found.extend(self.disk.extra().map(|(name, partition)| {
            let number = partition.number;
            format!("partition {number} has the type of {name}, but is not used")
        }));
        found
    }

    /// Returns a warning if the running release has no root hash.
    fn unverified_root(&self) -> Option<String> {
        let handoff = self.handoff?;
        let is_unverified =
            matches!(handoff.choice, Choice::Slot(_)) && handoff.verified_root.is_none();
        is_unverified.then(|| {
            "the running release has no root hash: a changed root file system is not noticed"
                .to_owned()
        })
    }

    /// Returns a warning if the running release feeds a hardware watchdog, but the guard found none
    /// to arm.
    fn unwatched(&self) -> Option<String> {
        let Choice::Slot(_) = self.booted()? else {
            return None;
        };
        let name = VarName {
            name: WATCHDOG_VARIABLE.to_owned(),
            vendor: VENDOR,
        };
        let found = self.vars.get(&name).ok()??;
        let is_none = found.attributes == Handoff::ATTRIBUTES && found.data == [0];
        is_none.then(|| {
            "the guard knows no hardware watchdog of this machine: a release that hangs waits for \
             a person"
                .to_owned()
        })
    }

    /// Returns a warning for each change of the boot entries that is due.
    fn entries_due(&self, record: &Record) -> Vec<String> {
        let vars = match BootVars::read(self.vars.as_ref()) {
            Ok(vars) => vars,
            Err(error) => return vec![format!("boot entries not checked: {error}")],
        };
        let Some(facts) = self.facts() else {
            return Vec::new();
        };
        let due = reconcile::plan(record, &vars, &facts, self.booted());
        let listed = due.iter().take(MAX_ACTIONS);
        let mut found: Vec<String> = listed
            .map(|action| format!("boot entries differ: due: {action}"))
            .collect();
        if let Some(more) = due.len().checked_sub(MAX_ACTIONS).filter(|more| *more > 0) {
            found.push(format!("boot entries differ: due: {more} more changes"));
        }
        let words = vars.unreadable_words();
        found.extend(words.map(|words| Warning::PartlyUnreadable(words).to_string()));
        found
    }

    /// Returns a warning for each image that Secure Boot, which is on, will not start. *Reads.* The
    /// guard is not checked: the running system shows that the firmware accepts it.
    fn unsigned_images(&self, record: &Record) -> Vec<String> {
        let slots = Slot::ALL
            .into_iter()
            .filter(|slot| record.slot(*slot).is_bootable())
            .map(|slot| (format!("slot {slot}"), PartitionName::boot(slot)));
        let recovery = ("recovery".to_owned(), PartitionName::Recovery);
        slots
            .chain([recovery])
            .filter_map(|(name, partition)| {
                let partition = self.disk.partition(partition).ok()?;
                match partition_is_signed(&partition) {
                    Ok(true) => None,
                    Ok(false) => Some(format!(
                        "Secure Boot is on, and the boot image of {name} is not signed for it: \
                         the firmware will not start it"
                    )),
                    Err(error) => Some(format!("boot image of {name}: {error}")),
                }
            })
            .collect()
    }
}

/// Returns a warning for each Good release whose commit no health check preceded.
fn unchecked(record: &Record, events: &[Event]) -> Vec<String> {
    let slots = Slot::ALL.into_iter().filter_map(|slot| {
        let state = record.slot(slot);
        let is_commit = |event: &&Event| {
            event.kind == Kind::Committed
                && event.subject == Some(Choice::Slot(slot))
                && event.version == state.release.version
        };
        let commit = events.iter().rev().find(is_commit)?;
        let is_unchecked = state.is_good() && commit.text().starts_with(UNCHECKED);
        is_unchecked.then(|| {
            let version = state.release.version;
            format!("slot {slot} {version} was committed although {UNCHECKED}")
        })
    });
    slots.collect()
}

/// Collects the errors of what cannot be read.
struct Warnings<'a>(&'a mut Vec<String>);

impl Warnings<'_> {
    fn take<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.0.push(error.to_string())).ok()
    }
}
