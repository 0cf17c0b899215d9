//! `rayos-updater verify-slot`.

use super::common_args::CommonArgs;
use super::network_args::NetworkArgs;
use super::target_args::TargetArgs;
use crate::output;
use anyhow::Result;
use bootctl::device::Access;
use bundle::Release;
use clap::Args;
use cli::ExitStatus;
use record::Slot;
use seal::TrustChain;
use std::sync::Arc;
use tokio::runtime::Runtime;
use updater::guard_keys::machine_chain;
use updater::source::Location;
use updater::verify_slot::{Comparison, SlotReport, verify_slot};
use updater::{Incoming, SealedSlot};

/// Compare a slot with what was signed, reading all of it from the medium; exit code 0 if it is
/// intact, 6 if it is damaged or could not be compared completely
#[derive(Args)]
pub(super) struct VerifySlot {
    /// The slot: a or b
    slot: Slot,
    /// Compare with this bundle, of which only the head is read: a file or a URL. By default the
    /// slot is compared with the metadata that it stores
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<Location>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl VerifySlot {
    pub(super) fn run(self) -> ExitStatus {
        let json = self.common.json;
        match self.verify() {
            Ok(report) => {
                output::verified_slot(&report, json);
                if report.is_intact() {
                    ExitStatus::Success
                } else {
                    ExitStatus::Damaged
                }
            }
            Err(error) => output::failed_verify_slot(&error, json),
        }
    }

    fn verify(self) -> Result<SlotReport> {
        let trust = self.network.trust()?;
        let machine = self.target.open(Access::Read)?;
        let record = machine.store.read()?;
        let trust = machine_chain(&machine.disk, Some(&record), trust);
        let runtime = self.common.runtime()?;
        let comparison = Comparison {
            sealed: SealedSlot {
                disk: &machine.disk,
                slot: self.slot,
                trust: &trust,
            },
            state: record.slot(self.slot),
            release: self.release(&trust, &runtime)?,
            jobs: self.common.jobs(),
        };
        let terminal = self.common.terminal();
        let report = runtime.block_on(verify_slot(&comparison, &terminal));
        terminal.finish();
        Ok(report?)
    }

    fn release(&self, trust: &TrustChain, runtime: &Runtime) -> Result<Option<Arc<Release>>> {
        let Some(location) = &self.bundle else {
            return Ok(None);
        };
        let source = self.network.source(location)?;
        let opening = Incoming::open(source, trust, self.network.retries(), &|_, _| {});
        let incoming = runtime.block_on(opening)?;
        Ok(Some(Arc::clone(incoming.release())))
    }
}
