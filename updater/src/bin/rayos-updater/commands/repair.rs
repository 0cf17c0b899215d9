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
use updater::guard_keys::machine_chain;
use updater::source::{Location, SourceError};
use updater::{Incoming, Options, RepairOutcome};

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
        let runtime = self.common.runtime()?;
        let outcome = self.target.with_machine(|machine| {
            let record = machine.store.read().ok();
            let chain = machine_chain(&machine.disk, record.as_ref(), trust.clone());
            let options = Options {
                trust: &chain,
                place_guard: None,
                tries: 0,
                read_back: true,
                adaptive: false,
                jobs: self.common.jobs(),
                retries: self.network.retries(),
                plan_only: false,
            };
            runtime.block_on(async {
                let on_retry =
                    |error: &SourceError, pause| events.event(Event::retry(error, pause));
                let incoming = Incoming::open(source, &chain, options.retries, &on_retry).await?;
                incoming
                    .repair(self.slot, machine, &options, events.as_ref())
                    .await
            })
        })?;
        events.finish();
        Ok(outcome?)
    }
}
