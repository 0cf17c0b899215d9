//! `rayos-updater check`.

use super::network_args::Network;
use super::target_args::Place;
use crate::exit_code::Ending;
use crate::output::{self, Checked};
use anyhow::Result;
use bootctl::device::Access;
use clap::Args;
use record::Slot;
use updater::as_seen_by;
use updater::plan::check::{Verdict, running, verdict};
use updater::plan::{Facts, Scope};
use updater::{Failure, Incoming};

/// Say whether a bundle is newer than what runs: exit code 0 if so, 7 if there is nothing to do
///
/// Reads no more than the head of the bundle. What waits for its first boot, has failed on this
/// machine, or was left by somebody who went back from it, is nothing to do. Exit code 3 if it
/// cannot be applied.
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    place: Place,
    /// Print the answer as JSON on standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Ending {
        let json = self.json;
        match self.check() {
            Ok(checked) => {
                output::checked(&checked, json);
                match checked.verdict {
                    Verdict::Newer => Ending::Done,
                    Verdict::Refused(_) => Ending::REFUSED,
                    _ => Ending::NothingToDo,
                }
            }
            Err(error) => output::failed_check(&error, json),
        }
    }

    fn check(self) -> Result<Checked> {
        let trust = self.network.trust()?;
        let source = self.network.source()?;
        let machine = self.place.open(Access::Read)?;
        let record = machine.store.read()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let retries = self.network.retries();
        let incoming = runtime.block_on(Incoming::open(source, &trust, retries, &|_, _| {}));
        let incoming = incoming.map_err(Failure::from)?;
        let release = incoming.release();
        let (disk, booted) = (&machine.disk, self.place.booted(&machine));
        let seen = runtime.block_on(async {
            let seen = as_seen_by(&record, Slot::A, disk, &trust, release).await;
            as_seen_by(&seen, Slot::B, disk, &trust, release).await
        });
        let facts = Facts::of(disk, &seen, booted, Scope::Update);
        Ok(Checked {
            verdict: verdict(&facts, release),
            offered: release.statement().version.to_string(),
            rollback_index: release.statement().rollback_index,
            running: record.slot(running(&facts)).release,
        })
    }
}
