//! Activate: seals, boot record and boot entries, in this order.

use super::stages::{Disarmed, Verified, Written};
use crate::apply::operation::{Context, Intent, Operation};
use crate::apply::secure_boot;
use crate::error::ApplyError;
use crate::events::Event;
use crate::guard_keys::GuardKeys;
use crate::options::{PhaseMs, Report};
use crate::plan::{Plan, Refusal};
use crate::slot::stored_metadata;
use bootctl::device::BlockDevice;
use bootctl::transition::{self, Trial, TrustEpochs};
use bootctl::{links, reconcile};
use record::event::Kind;
use record::{Record, SlotState};
use seal::SEAL_LEN;
use std::io;
use std::time::Duration;

impl Verified<'_> {
    /// Writes stored metadata and seals, places the guard, and makes the slot Pending, or Good
    /// after a repair. *Writes*: each step is durable before the next.
    ///
    /// # Errors
    /// [`ApplyError::Write`], [`ApplyError::Record`]; [`ApplyError::Refused`] for a boot image
    /// without the signature that Secure Boot needs.
    ///
    /// # Power loss
    /// The slot is Unbootable, or complete and activated. Boot entries may be out of date; the next
    /// `rayos-bootctl reconcile` corrects them.
    pub(crate) fn activate(self) -> Result<Report, ApplyError> {
        let operation = self.written.disarmed.operation;
        operation.write_seals()?;
        operation.place_guard()?;
        operation.store_links()?;
        let record = operation.update_record()?;
        let warnings = operation.reconcile_entries(&record);
        let tries = operation.tries();
        if tries > 0 {
            operation.report(Event::Activated {
                slot: operation.slot().letter(),
                tries,
            });
        }
        Ok(self.report(tries, warnings))
    }

    fn report(self, tries: u8, warnings: Vec<String>) -> Report {
        let Written {
            disarmed: Disarmed { operation, scanned },
            fetched,
            took: write_took,
            ..
        } = self.written;
        let amounts = scanned.amounts;
        let milliseconds = |took: Duration| took.as_millis() as u64;
        Report {
            slot: operation.slot().letter(),
            version: operation.plan.release.version.to_string(),
            tries,
            image_bytes: amounts.image_bytes,
            fetched_bytes: fetched.bytes,
            requests: fetched.requests,
            reused_bytes: amounts.in_place_bytes,
            composed_bytes: amounts.composed_bytes,
            written_bytes: amounts.image_bytes - amounts.in_place_bytes,
            phase_ms: PhaseMs {
                scan: milliseconds(scanned.took),
                verify: milliseconds(scanned.verify_took),
                write: milliseconds(write_took),
                read_back: milliseconds(self.took),
            },
            warnings,
        }
    }
}

impl Operation<'_> {
    /// Writes the stored metadata, then the seals. *Writes*: durable on return.
    fn write_seals(&self) -> Result<(), ApplyError> {
        let release = self.release();
        let boot = &self.writer.boot().window;
        if let Intent::Trial(_) = self.intent {
            secure_boot::check_written(self.context.machine.vars, release, boot)?;
        }
        // It is optional: without it, the slot can be compared only with a bundle.
        if let Err(error) = stored_metadata::write(boot, release) {
            self.warn(format!("boot partition: {error}"));
        }
        for image in self.writer.sealed_images() {
            write_seal(&image.window, release.seal().as_bytes()).map_err(|error| {
                ApplyError::Write {
                    what: "header of the boot image",
                    error,
                }
            })?;
        }
        Ok(())
    }

    fn place_guard(&self) -> Result<(), ApplyError> {
        let Some(place) = self.context.options.place_guard else {
            return Ok(());
        };
        let guard = self.writer.take_memory().unwrap_or_default();
        place(&guard).map_err(|error| ApplyError::Write {
            what: "EFI system partition",
            error,
        })
    }

    /// Adds the trust links of the bundle to those on the disk. *Writes*: durable on return.
    fn store_links(&self) -> Result<(), ApplyError> {
        let disk = &self.context.machine.disk;
        let mut kept = links::read(disk);
        for link in self.release().links() {
            if !kept.contains(link) {
                kept.push(link.clone());
            }
        }
        links::write(disk, &kept).map_err(|error| ApplyError::Write {
            what: "trust links",
            error,
        })
    }

    /// Returns the key epochs that accept what is on the disk now. *Reads.*
    fn trust_epochs(&self) -> Result<TrustEpochs, ApplyError> {
        let Context {
            machine, options, ..
        } = self.context;
        let guards = GuardKeys::read(&machine.disk, &machine.store.read()?);
        let mut trust = options.trust.clone();
        let _refused = trust.follow(self.release().links());
        Ok(guards.epochs(&machine.disk, self.slot(), &trust))
    }

    /// Makes the slot Pending, or Good after a repair. *Writes*: durable on return.
    fn update_record(&self) -> Result<Record, ApplyError> {
        let Plan {
            target,
            release,
            revoke,
            ..
        } = self.plan;
        let epochs = self.trust_epochs()?;
        let activated = |record: &Record| {
            if record.slot(self.slot()).reason == record::Reason::MarkedBad {
                return Err(Refusal::MarkedBad { slot: self.slot() }.into());
            }
            let activated = match self.intent {
                Intent::Trial(tries) => {
                    let trial = Trial {
                        release,
                        revoke,
                        epochs,
                        tries,
                    };
                    transition::activate(record, target, trial)
                }
                Intent::Repair => {
                    // The seal is that of the bundle that repairs the slot.
                    let state = SlotState {
                        trust_epoch: epochs.target,
                        ..*record.slot(target.slot())
                    };
                    let resealed = record.with_slot(target.slot(), state);
                    transition::end_repair(&resealed, target)
                }
            };
            Ok::<_, ApplyError>(activated.map_err(Refusal::from)?)
        };
        let (_, record) = self.context.machine.store.update(activated)?;
        let kind = match self.intent {
            Intent::Trial(_) => Kind::Activated,
            Intent::Repair => Kind::Repaired,
        };
        self.log(&record, kind);
        Ok(record)
    }

    /// Returns the trial boots granted to the release; 0 after a repair.
    const fn tries(&self) -> u8 {
        match self.intent {
            Intent::Trial(tries) => tries,
            Intent::Repair => 0,
        }
    }

    /// Brings boot entries and `BootNext` in line with the record. Returns what failed as warnings,
    /// because the entries only mirror the record. *Writes* EFI variables.
    fn reconcile_entries(&self, record: &Record) -> Vec<String> {
        let machine = self.context.machine;
        let (Some(vars), Some(esp)) = (machine.vars, machine.disk.partitions().esp) else {
            return Vec::new();
        };
        let facts = reconcile::Facts {
            esp,
            retired: Vec::new(),
        };
        let report = reconcile::run(record, vars, &facts, Some(machine.booted));
        let warnings: Vec<String> = report.warning.iter().map(ToString::to_string).collect();
        for message in &warnings {
            self.warn(message.clone());
        }
        warnings
    }
}

fn write_seal(partition: &impl BlockDevice, seal: &[u8; SEAL_LEN]) -> io::Result<()> {
    partition.write_at(0, seal)?;
    partition.flush()?;
    let mut found = [0; SEAL_LEN];
    partition.read_medium_at(0, &mut found)?;
    if found != *seal {
        return Err(io::Error::other("read back other bytes than were written"));
    }
    Ok(())
}
