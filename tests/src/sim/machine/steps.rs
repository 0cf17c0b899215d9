//! The steps of a workload, by the real updater: apply a release, repair a slot, verify slots.

use super::firmware::Assertions;
use super::workload::Workload;
use super::{NextStep, SimMachine};
use crate::sim::hardware::network::SimSource;
use crate::sim::releases::Release;
use bootctl::machine::Machine;
use record::{Choice, Slot, Status};
use seal::TrustChain;
use std::time::Duration;
use updater::events::Silent;
use updater::guard_keys::machine_chain;
use updater::source::{self, MemorySource, Retries, Source};
use updater::verify_slot::{Comparison, verify_slot};
use updater::{ApplyError, ApplyFailure, Incoming, Options, Outcome};
use updater::{RepairOutcome, SealedSlot};

/// No pauses, because the server is simulated.
const RETRIES: Retries = Retries {
    max_failures: 8,
    seed: 0,
    first_pause: Duration::ZERO,
    deadline: Duration::from_secs(3600),
};

fn is_refusal<T>(applied: &Result<T, ApplyFailure>) -> bool {
    matches!(
        applied,
        Err(ApplyFailure {
            error: ApplyError::Refused(_),
            ..
        })
    )
}

impl SimMachine<'_> {
    /// Applies `wanted`, unless it runs or has failed before.
    pub(super) fn update(&mut self, machine: &Machine, wanted: &str, version: &str) -> NextStep {
        let releases = self.releases;
        let release = releases.get(wanted);
        let record = match machine.store.read() {
            Ok(record) => record,
            Err(error) => return self.operation_failed(&error.to_string()),
        };
        let failed = record.slots.iter().any(|slot| {
            let given_up = !matches!(slot.reason, record::Reason::Updating | record::Reason::None);
            slot.release.manifest_sha256 == release.manifest
                && slot.status == Status::Unbootable
                && given_up
        });
        if version == wanted || failed {
            return NextStep::Rest;
        }
        let on_trial = record.slots.iter().any(|slot| {
            slot.release.manifest_sha256 == release.manifest
                && matches!(slot.status, Status::Pending { tries_left: 1.. })
        });
        if on_trial {
            return NextStep::Restart;
        }
        if matches!(self.workload, Workload::UpdateInterrupted(_)) {
            self.interrupt(machine, release);
        }
        let mut bundle = release.bundle.clone();
        if matches!(self.workload, Workload::UpdateDamaged(_)) {
            let middle = bundle.len() * 3 / 5;
            bundle[middle] ^= 4;
        }
        let full_bundle = || {
            let bundle = release.full_bundle.clone()?;
            Some(self.full_bundles.file(bundle))
        };
        let mut applied = self.apply(machine, self.network.file(bundle), full_bundle());
        // If a faulty disk has damaged the base, the owner applies the full bundle.
        if self.assertions == Assertions::SafetyOnly
            && let (true, Some(full_bundle)) = (is_refusal(&applied), full_bundle())
        {
            applied = self.apply(machine, full_bundle, None);
        }
        match applied {
            Ok(Outcome::Activated(_)) => NextStep::Restart,
            Ok(_) => NextStep::Rest,
            Err(_) if matches!(self.workload, Workload::UpdateDamaged(_)) => NextStep::Rest,
            // Another fault has moved data to a range that cannot be read correctly.
            Err(_) if self.assertions == Assertions::SafetyOnly && self.disk.has_bad_range() => {
                NextStep::Rest
            }
            Err(error) => self.operation_failed(&error.to_string()),
        }
    }

    /// Applies a bundle from a pipe that breaks half way.
    fn interrupt(&mut self, machine: &Machine, release: &Release) {
        let half = release.bundle.len() as u64 / 2;
        let mut pipe = MemorySource::new(release.bundle.clone(), 4096)
            .with_faults([source::Fault::DropAfter(half)]);
        pipe.seekable = false;
        if self.apply(machine, pipe, None).is_ok() {
            self.violate("an update from half a bundle succeeded".to_owned());
        }
    }

    fn apply<S: Source>(
        &self,
        machine: &Machine,
        source: S,
        full_bundle: Option<S>,
    ) -> Result<Outcome, ApplyFailure> {
        let chain = self.chain(machine);
        let (target, options) = (self.target(machine), options(&chain));
        self.runtime.block_on(async {
            let mut incoming =
                Incoming::open(source, options.trust, options.retries, &|_, _| {}).await?;
            if let Some(full_bundle) = full_bundle {
                incoming = incoming.with_full(full_bundle, &|_, _| {});
            }
            incoming.apply(&target, &options, &Silent).await
        })
    }

    fn target(&self, machine: &Machine) -> updater::TargetMachine<'_> {
        updater::TargetMachine {
            disk: machine.disk.clone(),
            store: machine.store.clone(),
            vars: Some(&self.vars),
            booted: machine.booted().unwrap_or(Choice::Recovery),
            now: 0,
        }
    }

    /// Returns the trust of the running system.
    fn chain(&self, machine: &Machine) -> TrustChain {
        let record = machine.store.read().ok();
        machine_chain(&machine.disk, record.as_ref(), self.releases.trust.clone())
    }

    /// Repairs `slot`, which holds the release `held`.
    pub(super) fn repair_slot(&mut self, machine: &Machine, slot: Slot, held: &str) -> NextStep {
        let source: SimSource = self.network.file(self.releases.get(held).bundle.clone());
        let chain = self.chain(machine);
        let (target, options) = (self.target(machine), options(&chain));
        let repaired = self.runtime.block_on(async {
            let incoming =
                Incoming::open(source, options.trust, options.retries, &|_, _| {}).await?;
            incoming.repair(slot, &target, &options, &Silent).await
        });
        match &repaired {
            Ok(RepairOutcome::Intact(_) | RepairOutcome::Repaired(_)) => NextStep::Rest,
            // A faulty disk has made the slot Unbootable: it cannot be repaired.
            Err(_) if self.assertions == Assertions::SafetyOnly && is_refusal(&repaired) => {
                NextStep::Rest
            }
            Err(error) => self.operation_failed(&error.to_string()),
        }
    }

    /// Verifies both slots: B is intact, A is damaged, and nothing is written.
    pub(super) fn verify_slots(&mut self, machine: &Machine) -> NextStep {
        let record = match machine.store.read() {
            Ok(record) => record,
            Err(error) => return self.operation_failed(&error.to_string()),
        };
        let before = (self.disk.operations(), self.disk.medium());
        for slot in Slot::ALL {
            let chain = self.chain(machine);
            let comparison = Comparison {
                sealed: SealedSlot {
                    disk: &machine.disk,
                    slot,
                    trust: &chain,
                },
                state: record.slot(slot),
                release: None,
                jobs: 1,
            };
            let report = match self.runtime.block_on(verify_slot(&comparison, &Silent)) {
                Ok(report) => report,
                // A faulty disk has made the slot Unbootable.
                Err(_) if self.assertions == Assertions::SafetyOnly => return NextStep::Rest,
                Err(error) => return self.operation_failed(&error.to_string()),
            };
            let expected =
                report.is_intact() == (slot == Slot::B) && report.is_damaged() == (slot == Slot::A);
            if self.assertions == Assertions::All && !expected {
                self.violate(format!("slot {slot} is verified as {report:?}"));
            }
        }
        if before != (self.disk.operations(), self.disk.medium()) {
            self.violate("verifying a slot changed the disk".to_owned());
        }
        NextStep::Rest
    }
}

fn options(chain: &TrustChain) -> Options<'_> {
    Options {
        trust: chain,
        place_guard: None,
        tries: record::TRIAL_TRIES,
        read_back: true,
        adaptive: true,
        jobs: 1,
        retries: RETRIES,
        if_newer: false,
        plan_only: false,
    }
}
