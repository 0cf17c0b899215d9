//! `rayos-updater check`.

use super::network_args::BundleArgs;
use super::target_args::TargetArgs;
use crate::output;
use anyhow::Result;
use bootctl::device::Access;
use clap::Args;
use cli::ExitStatus;
use tokio::runtime::Builder;
use updater::guard_keys::{GuardKeys, machine_chain};
use updater::plan::check::{Comparison, Verdict};
use updater::{ApplyFailure, Incoming, compare};

/// Report whether a bundle is newer than the running release: exit code 0 if it is, 7 if there is
/// nothing to do
///
/// Reads only the head of the bundle. A release that waits for its first boot, that failed on this
/// machine, or that an operator rolled back or marked bad is nothing to do; so is another release
/// with the same rollback index. Exit code 3 if it cannot be applied. To check and apply in one
/// download, use apply --if-newer
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

    fn check(self) -> Result<Comparison> {
        let trust = self.bundle.network.trust()?;
        let source = self.bundle.source()?;
        let machine = self.target.open(Access::Read)?;
        let record = machine.store.read()?;
        let trust = machine_chain(&machine.disk, Some(&record), trust);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let retries = self.bundle.network.retries();
        let opened = runtime.block_on(Incoming::open(source, &trust, retries, &|_, _| {}));
        let incoming = opened.map_err(ApplyFailure::from)?;
        let booted = self.target.booted(&machine);
        let release = incoming.release();
        let compared = compare(&machine.disk, record, booted, &trust, release);
        let mut compared = runtime.block_on(compared);
        let guards = GuardKeys::read(&machine.disk, &record);
        if let (Verdict::Newer, Err(refusal)) = (&compared.verdict, guards.check(release)) {
            compared.verdict = Verdict::Refused(refusal);
        }
        Ok(compared)
    }
}
