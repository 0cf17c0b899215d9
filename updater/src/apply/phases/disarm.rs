//! Disarming the target slot.

use super::stages::{Disarmed, Scanned};
use crate::apply::work::{Intent, Work};
use crate::error::ApplyError;
use crate::events::Event;
use crate::plan::Refusal;
use bootctl::device::BlockDevice;
use bootctl::transition;
use record::event::Kind;
use record::{Record, SlotState};
use seal::SEAL_LEN;

impl Work<'_> {
    /// Makes the target slot Unbootable, then destroys its header, each durably.
    pub(crate) fn disarm(&self, scanned: Scanned) -> Result<Disarmed<'_>, ApplyError> {
        let slot = self.slot();
        // The record as it is now: the running release may have committed since the plan was made.
        let disarm = |record: &Record| match self.intent {
            Intent::Trial(_) => Ok(transition::disarm(record, self.plan.target)),
            Intent::Repair => {
                // From here on the slot belongs to the bundle that mends it, seal and all.
                let state = SlotState {
                    release: self.plan.release,
                    ..*record.slot(slot)
                };
                let adopted = record.with_slot(slot, state);
                Ok(transition::begin_repair(&adopted, self.plan.target).map_err(Refusal::from)?)
            }
        };
        let (_, record) = self
            .machine
            .store
            .update(disarm)
            .map_err(|error: ApplyError| error)?;
        for header in self.sinks.headers() {
            let write = |error| ApplyError::Write {
                what: "header of the boot image",
                error,
            };
            header.write_at(0, &[0; SEAL_LEN]).map_err(write)?;
            header.flush().map_err(write)?;
        }
        self.log(&record, Kind::Disarmed, "");
        self.events.event(Event::Disarmed {
            slot: slot.letter(),
        });
        Ok(Disarmed {
            work: self,
            scanned,
        })
    }
}
