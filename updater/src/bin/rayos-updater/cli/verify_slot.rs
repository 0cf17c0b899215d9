//! `rayos-updater verify-slot`.

use super::common_args::Manner;
use super::network_args::Reaching;
use super::target_args::Place;
use crate::exit_code::Ending;
use crate::output;
use anyhow::Result;
use bootctl::device::Access;
use clap::Args;
use record::Slot;
use std::sync::Arc;
use updater::Incoming;
use updater::source::Location;
use updater::verify_slot::{Question, SlotReport, verify_slot};

/// Compare a slot with what was signed, reading all of it from the medium; exit code 0 if it is
/// whole, 6 if it is damaged or not all of it could be compared
#[derive(Args)]
pub(super) struct VerifySlot {
    /// The slot: a or b
    slot: Slot,
    /// Compare with this bundle, of which only the head is read: a file or a URL. Without it, what
    /// the slot keeps of its own bundle serves
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<Location>,
    #[command(flatten)]
    reaching: Reaching,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    manner: Manner,
}

impl VerifySlot {
    pub(super) fn run(self) -> Ending {
        let json = self.manner.json;
        match self.compare() {
            Ok(report) => {
                output::compared(&report, json);
                if report.is_whole() {
                    Ending::Done
                } else {
                    Ending::DAMAGED
                }
            }
            Err(error) => output::failed_compare(&error, json),
        }
    }

    fn compare(self) -> Result<SlotReport> {
        let trust = self.reaching.trust()?;
        let machine = self.place.open(Access::Read)?;
        let record = machine.store.read()?;
        let runtime = self.manner.runtime()?;
        let release = match &self.bundle {
            None => None,
            Some(location) => {
                let source = self.reaching.source(location)?;
                let incoming = Incoming::open(source, &trust, self.reaching.retries(), &|_, _| {});
                Some(Arc::clone(runtime.block_on(incoming)?.release()))
            }
        };
        let terminal = self.manner.terminal();
        let slot = self.slot;
        let (disk, state) = (&machine.disk, record.slot(slot));
        let jobs = self.manner.jobs();
        let question = Question {
            disk,
            state,
            slot,
            trust: &trust,
            release,
            jobs,
        };
        let report = runtime.block_on(verify_slot(&question, &terminal));
        terminal.done();
        Ok(report?)
    }
}
