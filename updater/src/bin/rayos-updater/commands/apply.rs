//! `rayos-updater apply`.

use super::common_args::CommonArgs;
use super::network_args::BundleArgs;
use super::target_args::TargetArgs;
use crate::interruptible::Interruptible;
use crate::{output, signals};
use anyhow::{Context as _, Result};
use clap::Args;
use cli::ExitStatus;
use std::fs::File;
use std::sync::Arc;
use updater::events::{Event, EventSink as _};
use updater::source::{AnySource, Location, SourceError};
use updater::{ApplyFailure, Incoming, Options, Outcome};

/// Apply a bundle to the slot that is not running; the next boot tries it
#[derive(Args)]
pub(super) struct Apply {
    #[command(flatten)]
    bundle: BundleArgs,
    /// For a delta bundle: the full bundle of the same release, used if the running slot is
    /// damaged
    #[arg(long, value_name = "BUNDLE")]
    full: Option<Location>,
    #[command(flatten)]
    target: TargetArgs,
    /// Apply only a release that `check` calls newer, and decide that in this one download: exit
    /// code 7 if there is nothing to do. For unattended updates
    #[arg(long, help_heading = "Work")]
    if_newer: bool,
    /// Show the plan, and change nothing
    #[arg(long, help_heading = "Work")]
    plan: bool,
    /// Do not read the slot back from the medium. Faster, but silent corruption is then detected
    /// only at boot
    #[arg(long, help_heading = "Work")]
    no_read_back: bool,
    /// Fetch all chunks that are not in place, instead of looking for their blocks in the other
    /// slot
    #[arg(long, help_heading = "Work")]
    no_adaptive: bool,
    /// CPU niceness, 0 to 19; the kernel derives the priority on the disk from it
    #[arg(
        long,
        value_name = "N",
        help_heading = "Work",
        value_parser = clap::value_parser!(i32).range(0..=19)
    )]
    nice: Option<i32>,
    #[command(flatten)]
    common: CommonArgs,
    /// Also write progress as JSON lines to this open file descriptor
    #[arg(long, value_name = "FD", help_heading = "Output")]
    progress_fd: Option<u32>,
}

impl Apply {
    pub(super) fn run(self) -> ExitStatus {
        let json = self.common.json;
        match self.apply() {
            Ok(outcome) => {
                output::applied(&outcome, json);
                match outcome {
                    Outcome::UpToDate(_) | Outcome::NotNewer(_) => ExitStatus::NothingToDo,
                    Outcome::Planned(..) | Outcome::Activated(_) => ExitStatus::Success,
                }
            }
            Err(error) => output::failed_apply(&error, json),
        }
    }

    fn apply(self) -> Result<Outcome> {
        if let Some(nice) = self.nice {
            // Threads inherit the niceness of the thread that starts them, so this comes first.
            rustix::process::setpriority_process(None, nice).context("nice")?;
        }
        let events = self.events()?;
        signals::stop_on_signal(Arc::clone(&events), self.common.json)?;
        let trust = self.bundle.network.trust()?;
        let source = self.bundle.source()?;
        let full = self.full_source()?;
        let trust = self.target.trust_chain(trust)?;
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: record::TRIAL_TRIES,
            read_back: !self.no_read_back,
            adaptive: !self.no_adaptive,
            jobs: self.common.jobs(),
            retries: self.bundle.network.retries(),
            if_newer: self.if_newer,
            plan_only: self.plan,
        };
        let runtime = self.common.runtime()?;
        let on_retry = |error: &SourceError, pause| events.event(Event::retry(error, pause));
        // Before the disk is locked: a server that is slow to answer must not block others.
        let opened = runtime.block_on(Incoming::open(source, &trust, options.retries, &on_retry));
        let mut incoming = opened.map_err(|error| {
            events.finish();
            ApplyFailure::from(error)
        })?;
        if let Some(full) = full {
            incoming = incoming.with_full(full, &on_retry);
        }
        let outcome = self.target.with_machine(|machine| {
            runtime.block_on(incoming.apply(machine, &options, events.as_ref()))
        })?;
        events.finish();
        Ok(outcome?)
    }

    fn events(&self) -> Result<Arc<Interruptible>> {
        let terminal = self.common.terminal();
        let terminal = match self.progress_fd {
            Some(fd) => terminal.with_json_lines(open_fd(fd)?),
            None => terminal,
        };
        Ok(Arc::new(Interruptible::new(terminal)))
    }

    fn full_source(&self) -> Result<Option<AnySource>> {
        match &self.full {
            None => Ok(None),
            Some(Location::Stdin) => anyhow::bail!(
                "--full -: the full bundle is read in any order, standard input only in its own"
            ),
            Some(full) => Ok(Some(self.bundle.network.source(full)?)),
        }
    }
}

/// Returns a handle of its own to a descriptor that the parent process opened.
fn open_fd(fd: u32) -> Result<File> {
    let path = format!("/proc/self/fd/{fd}");
    File::options()
        .append(true)
        .open(&path)
        .with_context(|| format!("progress file descriptor {fd}"))
}
