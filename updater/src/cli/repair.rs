//! `rayos-updater repair`.

use super::network::Reaching;
use super::place::Place;
use super::{Ending, default_jobs, now};
use crate::signals;
use crate::watched::Watched;
use crate::words;
use anyhow::Result;
use bootctl::device::Access;
use clap::Args;
use record::Slot;
use std::sync::Arc;
use updater::apply::{Incoming, Machine, Options};
use updater::events::{Event, EventSink as _};
use updater::repair::Repaired;
use updater::source::{Location, SourceError};
use updater::terminal::{ProgressStyle, Terminal};

/// Write the damaged chunks of a Good slot anew, and fetch no others; the booted slot cannot be repaired. It is Good again
/// afterwards, and what boots next stays as it is
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
    /// Threads that read, hash and write
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// How to show progress on standard error
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "HOW")]
    progress: ProgressStyle,
}

impl Repair {
    pub(super) fn run(self) -> Ending {
        let json = self.json;
        match self.repair() {
            Ok(repaired) => {
                words::repaired(&repaired, json);
                match repaired {
                    Repaired::Whole(_) => Ending::NothingToDo,
                    Repaired::Mended(_) => Ending::Done,
                }
            }
            Err(error) => {
                let ending = Ending::from(&error);
                words::failure(&error, ending, json);
                ending
            }
        }
    }

    fn repair(self) -> Result<Repaired> {
        let events = Arc::new(Watched::new(Terminal::new(self.progress)));
        signals::stop_on_signal(Arc::clone(&events), self.json)?;
        let trust = self.reaching.trust()?;
        let source = self.reaching.source(&self.from)?;
        let opened = self.place.open(Access::Write)?;
        let machine = Machine {
            vars: self.place.has_variables().then_some(opened.vars.as_ref()),
            booted: self.place.booted(&opened),
            disk: opened.disk,
            store: opened.store,
            now: now(),
        };
        let jobs = self.jobs.unwrap_or_else(default_jobs);
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: 0,
            read_back: true,
            adaptive: false,
            jobs,
            retries: self.reaching.retries(),
            plan_only: false,
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(jobs.max(2)).enable_all().build()?;
        let repaired = runtime.block_on(async {
            let on_retry = |error: &SourceError, pause| events.event(Event::retry(error, pause));
            let incoming = Incoming::open(source, &trust, options.retries, &on_retry).await?;
            incoming.repair(self.slot, &machine, &options, events.as_ref()).await
        });
        events.done();
        Ok(repaired?)
    }
}
