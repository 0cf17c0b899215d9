//! Disarm: makes the target slot Unbootable.

use super::stages::{Disarmed, Scanned};
use crate::apply::operation::{Intent, Operation};
use crate::error::ApplyError;
use crate::events::Event;
use crate::plan::Refusal;
use bootctl::device::BlockDevice;
use bootctl::transition::{self, TargetSlot};
use record::event::Kind;
use record::{Record, SlotState};
use seal::SEAL_LEN;

impl Operation<'_> {
    /// Makes the target slot Unbootable in the boot record, then erases its seals. *Writes*: each
    /// step is durable before the next.
    ///
    /// # Errors
    /// [`ApplyError::Record`], [`ApplyError::Write`]; [`ApplyError::Refused`] if the boot record
    /// changed since the plan was made.
    ///
    /// # Power loss
    /// The slot is unchanged, or Unbootable with or without its seals.
    pub(crate) fn disarm(&self, scanned: Scanned) -> Result<Disarmed<'_>, ApplyError> {
        // Begins with the record as it is now: the running release may have committed since.
        let update = |record: &Record| self.disarmed(record);
        let (_, record) = self.context.machine.store.update(update)?;
        for image in self.writer.sealed_images() {
            erase_seal(&image.window).map_err(|error| ApplyError::Write {
                what: "header of the boot image",
                error,
            })?;
        }
        self.log(&record, Kind::Disarmed);
        self.report(Event::Disarmed {
            slot: self.slot().letter(),
        });
        Ok(Disarmed {
            operation: self,
            scanned,
        })
    }

    fn disarmed(&self, record: &Record) -> Result<Record, ApplyError> {
        let target = self.plan.target;
        match self.intent {
            Intent::Trial(_) => {
                // An operator may have rolled back since the plan was made.
                let booted = self.context.machine.booted;
                let target =
                    TargetSlot::of(record, booted, target.slot()).map_err(Refusal::from)?;
                Ok(transition::disarm(record, target))
            }
            Intent::Repair => {
                // From here on the slot belongs to the bundle that repairs it, seal included.
                let state = SlotState {
                    release: self.plan.release,
                    ..*record.slot(self.slot())
                };
                let adopted = record.with_slot(self.slot(), state);
                Ok(transition::begin_repair(&adopted, target).map_err(Refusal::from)?)
            }
        }
    }
}

fn erase_seal(partition: &impl BlockDevice) -> std::io::Result<()> {
    partition.write_at(0, &[0; SEAL_LEN])?;
    partition.flush()
}
