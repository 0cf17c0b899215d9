//! `rayos-updater repair`.

use super::common_args::Manner;
use super::network_args::Reaching;
use super::target_args::Place;
use crate::exit_code::Ending;
use crate::interruptible::Watched;
use crate::output;
use crate::signals;
use anyhow::Result;
use clap::Args;
use record::Slot;
use std::sync::Arc;
use updater::Repaired;
use updater::events::{Event, EventSink as _};
use updater::source::{Location, SourceError};
use updater::{Incoming, Options};

/// Write the damaged chunks of a Good slot anew, and fetch no others; the booted slot cannot be
/// repaired. It is Good again afterwards, and what boots next stays as it is
#[derive(Args)]
pub(super) struct Repair {
    /// The slot: a or b
    slot: Slot,
    /// The bundle of the release that the slot holds: a file or a URL
    #[arg(long, value_name = "BUNDLE")]
    from: Location,
    #[command(flatten)]
    reaching: Reaching,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    manner: Manner,
}

impl Repair {
    pub(super) fn run(self) -> Ending {
        let json = self.manner.json;
        match self.repair() {
            Ok(repaired) => {
                output::repaired(&repaired, json);
                match repaired {
                    Repaired::Whole(_) => Ending::NothingToDo,
                    Repaired::Mended(_) => Ending::Done,
                }
            }
            Err(error) => output::failure(&error, json),
        }
    }

    fn repair(self) -> Result<Repaired> {
        let events = Arc::new(Watched::new(self.manner.terminal()));
        signals::stop_on_signal(Arc::clone(&events), self.manner.json)?;
        let trust = self.reaching.trust()?;
        let source = self.reaching.source(&self.from)?;
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: 0,
            read_back: true,
            adaptive: false,
            jobs: self.manner.jobs(),
            retries: self.reaching.retries(),
            plan_only: false,
        };
        let runtime = self.manner.runtime()?;
        let repaired = self.place.work_on(|machine| {
            runtime.block_on(async {
                let on_retry =
                    |error: &SourceError, pause| events.event(Event::retry(error, pause));
                let incoming = Incoming::open(source, &trust, options.retries, &on_retry).await?;
                incoming
                    .repair(self.slot, machine, &options, events.as_ref())
                    .await
            })
        })?;
        events.done();
        Ok(repaired?)
    }
}
