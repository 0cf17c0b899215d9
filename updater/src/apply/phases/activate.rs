//! The end of an apply: the header, the record, and the boot entries, in this order.

use super::stages::{Disarmed, Proven, Written};
use crate::apply::secure_boot;
use crate::apply::work::{Intent, Work};
use crate::error::ApplyError;
use crate::events::Event;
use crate::options::{PhaseMs, Report};
use crate::plan::{Plan, Refusal};
use crate::slot::stored_metadata as kept;
use bootctl::device::BlockDevice;
use bootctl::{reconcile, transition};
use record::Record;
use record::event::Kind;
use seal::SEAL_LEN;
use std::io;
use std::time::Duration;

impl Proven<'_> {
    /// Writes the headers, places the guard, and arms the trial: in this order, each durable before
    /// the next.
    pub(crate) fn activate(self) -> Result<Report, ApplyError> {
        let Proven {
            written:
                Written {
                    disarmed,
                    fetched,
                    took: writing,
                    ..
                },
            took: reading,
        } = self;
        let Disarmed { work, scanned } = disarmed;
        let release = work.sinks.release();
        if let Intent::Trial(_) = work.intent {
            secure_boot::check_written(work.machine.vars, release, work.sinks.boot())?;
        }
        // Without it the slot is as good, but cannot be checked by itself.
        if let Err(error) = kept::write(work.sinks.boot(), release) {
            work.warn(format!("boot partition: {error}"));
        }
        for header in work.sinks.headers() {
            write_header(header, release.seal().as_bytes()).map_err(|error| ApplyError::Write {
                what: "header of the boot image",
                error,
            })?;
        }
        if let Some(place) = work.options.place_guard {
            let guard = work.sinks.take_memory().unwrap_or_default();
            place(&guard).map_err(|error| ApplyError::Write {
                what: "EFI system partition",
                error,
            })?;
        }
        let (record, tries) = work.arm()?;
        let warnings = work.arm_entries(&record);
        if tries > 0 {
            work.events.event(Event::Activated {
                slot: work.slot().letter(),
                tries,
            });
        }
        let milliseconds = |took: Duration| took.as_millis() as u64;
        let amounts = scanned.amounts;
        Ok(Report {
            slot: work.slot().letter(),
            version: work.plan.release.version.to_string(),
            tries,
            image_bytes: amounts.image_bytes,
            fetched_bytes: fetched,
            reused_bytes: amounts.in_place_bytes,
            composed_bytes: amounts.composed_bytes,
            written_bytes: amounts.image_bytes - amounts.in_place_bytes,
            phase_ms: PhaseMs {
                scan: milliseconds(scanned.took),
                verify: milliseconds(scanned.verifying),
                write: milliseconds(writing),
                read_back: milliseconds(reading),
            },
            warnings,
        })
    }
}

impl Work<'_> {
    /// Makes the slot what it is to be, durably: the record, and the tries that a new release has.
    fn arm(&self) -> Result<(Record, u8), ApplyError> {
        let Plan {
            target,
            release,
            revoke,
            ..
        } = self.plan;
        let arm = |record: &Record| {
            let armed = match self.intent {
                Intent::Trial(tries) => {
                    transition::activate(record, target, release, revoke, tries)
                }
                Intent::Repair => transition::end_repair(record, target),
            };
            Ok::<_, ApplyError>(armed.map_err(Refusal::from)?)
        };
        let (_, record) = self.machine.store.update(arm)?;
        let (kind, tries) = match self.intent {
            Intent::Trial(tries) => (Kind::Activated, tries),
            Intent::Repair => (Kind::Repaired, 0),
        };
        self.log(&record, kind, "");
        Ok((record, tries))
    }

    /// Brings boot entries and `BootNext` in line with the record. They are a cache: what fails is
    /// a warning.
    fn arm_entries(&self, record: &Record) -> Vec<String> {
        let (Some(vars), Some(esp)) = (self.machine.vars, self.machine.disk.partitions().esp)
        else {
            return Vec::new();
        };
        let facts = reconcile::Facts {
            esp,
            retired: Vec::new(),
        };
        let report = reconcile::run(record, vars, &facts, Some(self.machine.booted));
        let warnings: Vec<String> = report.warning.iter().map(ToString::to_string).collect();
        for message in &warnings {
            self.events.event(Event::Warning {
                message: message.clone(),
            });
        }
        warnings
    }
}

fn write_header(window: &impl BlockDevice, seal: &[u8; SEAL_LEN]) -> io::Result<()> {
    window.write_at(0, seal)?;
    window.flush()?;
    let mut found = [0; SEAL_LEN];
    window.read_medium_at(0, &mut found)?;
    if found != *seal {
        return Err(io::Error::other("read back other bytes than were written"));
    }
    Ok(())
}
