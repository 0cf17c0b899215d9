//! `rayos-updater check`.

use super::network_args::BundleArgs;
use super::target_args::TargetArgs;
use crate::output::{self, CheckResult};
use anyhow::Result;
use bootctl::device::Access;
use clap::Args;
use cli::ExitStatus;
use record::Slot;
use tokio::runtime::Builder;
use updater::guard_keys::{GuardKeys, machine_chain};
use updater::plan::check::{Verdict, running, verdict};
use updater::plan::{Facts, Scope};
use updater::{ApplyFailure, Incoming, SealedSlot, rebased_on};

/// Report whether a bundle is newer than the running release: exit code 0 if it is, 7 if there is
/// nothing to do
///
/// Reads only the head of the bundle. A release that waits for its first boot, that failed on this
/// machine, or that an operator rolled back or marked bad is nothing to do. Exit code 3 if it
/// cannot be applied.
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Print the answer as JSON on standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> ExitStatus {
        let json = self.json;
        match self.check() {
            Ok(checked) => {
                output::checked(&checked, json);
                match checked.verdict {
                    Verdict::Newer => ExitStatus::Success,
                    Verdict::Refused(_) => ExitStatus::Refused,
                    _ => ExitStatus::NothingToDo,
                }
            }
            Err(error) => output::failed_check(&error, json),
        }
    }

    fn check(self) -> Result<CheckResult> {
        let trust = self.bundle.network.trust()?;
        let source = self.bundle.source()?;
        let machine = self.target.open(Access::Read)?;
        let mut record = machine.store.read()?;
        let trust = machine_chain(&machine.disk, Some(&record), trust);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let retries = self.bundle.network.retries();
        let opened = runtime.block_on(Incoming::open(source, &trust, retries, &|_, _| {}));
        let incoming = opened.map_err(ApplyFailure::from)?;
        let release = incoming.release();
        for slot in Slot::ALL {
            let sealed = SealedSlot {
                disk: &machine.disk,
                slot,
                trust: &trust,
            };
            record = runtime.block_on(rebased_on(release, &record, sealed));
        }
        let booted = self.target.booted(&machine);
        let facts = Facts::of(&machine.disk, &record, booted, Scope::Update);
        let verdict = match verdict(&facts, release) {
            Verdict::Newer => GuardKeys::read(&machine.disk, &record)
                .check(release)
                .map_or_else(Verdict::Refused, |()| Verdict::Newer),
            other => other,
        };
        Ok(CheckResult {
            verdict,
            offered: release.statement().version.to_string(),
            rollback_index: release.statement().rollback_index,
            running: record.slot(running(&facts)).release,
        })
    }
}
