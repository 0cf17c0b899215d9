//! `rayos-updater apply`.

use super::common_args::Manner;
use super::network_args::Network;
use super::target_args::Place;
use crate::exit_code::Ending;
use crate::interruptible::Watched;
use crate::output;
use crate::signals;
use anyhow::{Context as _, Result};
use clap::Args;
use std::fs::File;
use std::sync::Arc;
use updater::events::{Event, EventSink as _};
use updater::source::{Location, SourceError};
use updater::{Incoming, Options, Outcome};

/// Apply a bundle to the slot that is not running; the next boot tries it
#[derive(Args)]
pub(super) struct Apply {
    #[command(flatten)]
    network: Network,
    /// For a delta bundle: the whole bundle of the same release, to turn to if the running slot is
    /// damaged
    #[arg(long, value_name = "BUNDLE")]
    full: Option<Location>,
    #[command(flatten)]
    place: Place,
    /// Show what would be done, and stop
    #[arg(long, help_heading = "Work")]
    plan: bool,
    /// Do not read the slot back from the medium: quicker, but a disk that lies is found out by the
    /// boot guard
    #[arg(long, help_heading = "Work")]
    no_read_back: bool,
    /// Fetch everything that is not in its place, without looking for it in the other slot: more to
    /// fetch, less to read
    #[arg(long, help_heading = "Work")]
    no_adaptive: bool,
    /// Give way to other programs: 1 to 19, more is more; the kernel derives the priority on the
    /// disk from it
    #[arg(long, value_name = "N", help_heading = "Work", value_parser = clap::value_parser!(i32).range(0..=19))]
    nice: Option<i32>,
    #[command(flatten)]
    manner: Manner,
    /// Write progress as JSON lines to this open file descriptor too
    #[arg(long, value_name = "FD", help_heading = "Output")]
    progress_fd: Option<u32>,
}

impl Apply {
    pub(super) fn run(self) -> Ending {
        let json = self.manner.json;
        match self.apply() {
            Ok(outcome) => {
                output::outcome(&outcome, json);
                match outcome {
                    Outcome::UpToDate(_) => Ending::NothingToDo,
                    _ => Ending::Done,
                }
            }
            Err(error) => output::failure(&error, json),
        }
    }

    fn apply(self) -> Result<Outcome> {
        if let Some(nice) = self.nice {
            // Before any thread is started: each takes it over from the one that starts it.
            rustix::process::setpriority_process(None, nice).context("nice")?;
        }
        let terminal = self.manner.terminal();
        let terminal = match self.progress_fd {
            Some(fd) => terminal.with_json_lines(open_fd(fd)?),
            None => terminal,
        };
        let events = Arc::new(Watched::new(terminal));
        signals::stop_on_signal(Arc::clone(&events), self.manner.json)?;
        let trust = self.network.trust()?;
        let source = self.network.source()?;
        if matches!(self.full, Some(Location::Stdin)) {
            anyhow::bail!(
                "--full -: the whole bundle is read out of order, which standard input cannot be"
            );
        }
        let full = self
            .full
            .as_ref()
            .map(|full| self.network.other(full))
            .transpose()?;
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: record::TRIAL_TRIES,
            read_back: !self.no_read_back,
            adaptive: !self.no_adaptive,
            jobs: self.manner.jobs(),
            retries: self.network.retries(),
            plan_only: self.plan,
        };
        let runtime = self.manner.runtime()?;
        let outcome = self.place.work_on(|machine| {
            runtime.block_on(async {
                let on_retry =
                    |error: &SourceError, pause| events.event(Event::retry(error, pause));
                let incoming = Incoming::open(source, &trust, options.retries, &on_retry).await?;
                let incoming = match full {
                    Some(full) => incoming.with_full(full, &on_retry),
                    None => incoming,
                };
                incoming.apply(machine, &options, events.as_ref()).await
            })
        })?;
        events.done();
        Ok(outcome?)
    }
}

/// A handle of ours to a descriptor that was opened for us.
fn open_fd(fd: u32) -> Result<File> {
    let path = format!("/proc/self/fd/{fd}");
    File::options()
        .append(true)
        .open(&path)
        .with_context(|| format!("progress file descriptor {fd}"))
}
