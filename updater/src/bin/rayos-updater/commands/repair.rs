//! `rayos-updater repair`.

use super::common_args::CommonArgs;
use super::network_args::NetworkArgs;
use super::target_args::TargetArgs;
use crate::interruptible::Interruptible;
use crate::{output, signals};
use anyhow::Result;
use clap::Args;
use cli::ExitStatus;
use record::Slot;
use std::sync::Arc;
use updater::events::{Event, EventSink as _};
use updater::source::{Location, SourceError};
use updater::{ApplyFailure, Incoming, Options, RepairOutcome};

/// Fetch and write the damaged chunks of a Good slot that is not booted, and no others. It is Good
/// afterwards, and the default slot is unchanged
#[derive(Args)]
pub(super) struct Repair {
    /// The slot: a or b
    slot: Slot,
    /// The bundle of the release that the slot holds: a file or a URL
    #[arg(long, value_name = "BUNDLE")]
    from: Location,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Repair {
    pub(super) fn run(self) -> ExitStatus {
        let json = self.common.json;
        match self.repair() {
            Ok(outcome) => {
                output::repaired(&outcome, json);
                match outcome {
                    RepairOutcome::Intact(_) => ExitStatus::NothingToDo,
                    RepairOutcome::Repaired(_) => ExitStatus::Success,
                }
            }
            Err(error) => output::failed_apply(&error, json),
        }
    }

    fn repair(self) -> Result<RepairOutcome> {
        let events = Arc::new(Interruptible::new(self.common.terminal()));
        signals::stop_on_signal(Arc::clone(&events), self.common.json)?;
        let trust = self.network.trust()?;
        let source = self.network.source(&self.from)?;
        let trust = self.target.trust_chain(trust)?;
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: 0,
            read_back: true,
            adaptive: false,
            jobs: self.common.jobs(),
            retries: self.network.retries(),
            if_newer: false,
            plan_only: false,
        };
        let runtime = self.common.runtime()?;
        let on_retry = |error: &SourceError, pause| events.event(Event::retry(error, pause));
        // Before the disk is locked: a server that is slow to answer must not block others.
        let opened = runtime.block_on(Incoming::open(source, &trust, options.retries, &on_retry));
        let incoming = opened.map_err(|error| {
            events.finish();
            ApplyFailure::from(error)
        })?;
        let outcome = self.target.with_machine(|machine| {
            runtime.block_on(incoming.repair(self.slot, machine, &options, events.as_ref()))
        })?;
        events.finish();
        Ok(outcome?)
    }
}
