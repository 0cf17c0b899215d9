//! What the system does because its owner wants it: update, mend and compare, through the real
//! updater.

use super::firmware::Demand;
use super::network::SimSource;
use super::releases::Release;
use super::world::{Then, Wish, World};
use bootctl::machine::Machine;
use record::{Choice, Slot, Status};
use std::time::Duration;
use updater::Repaired;
use updater::events::Silent;
use updater::source::Retries;
use updater::source::{Fault, MemorySource, Source};
use updater::verify_slot::{Question, verify_slot};
use updater::{ApplyError, Failure, Incoming, Options, Outcome};

/// Nobody waits for a simulated server.
const RETRIES: Retries = Retries {
    in_a_row: 8,
    seed: 0,
    first_pause: Duration::ZERO,
};

fn is_refusal<T>(applied: &Result<T, Failure>) -> bool {
    matches!(
        applied,
        Err(Failure {
            error: ApplyError::Refused(_),
            ..
        })
    )
}

impl World<'_> {
    /// Applies `wanted`, unless it runs already or is known to fail.
    pub(super) fn pursue(&mut self, machine: &Machine, wanted: &str, version: &str) -> Then {
        let releases = self.releases;
        let release = releases.get(wanted);
        let record = match machine.store.read() {
            Ok(record) => record,
            Err(error) => return self.stopped(&error.to_string()),
        };
        let failed = record.slots.iter().any(|slot| {
            let given_up = !matches!(slot.reason, record::Reason::Updating | record::Reason::None);
            slot.release.manifest_sha256 == release.manifest
                && slot.status == Status::Unbootable
                && given_up
        });
        if version == wanted || failed {
            return Then::Rest;
        }
        let on_trial = record.slots.iter().any(|slot| {
            slot.release.manifest_sha256 == release.manifest
                && matches!(slot.status, Status::Pending { tries_left: 1.. })
        });
        if on_trial {
            return Then::Restart;
        }
        if matches!(self.wish, Wish::RunInterrupted(_)) {
            self.interrupt(machine, release);
        }
        let mut bundle = release.bundle.clone();
        if matches!(self.wish, Wish::RunDamaged(_)) {
            let middle = bundle.len() * 3 / 5;
            bundle[middle] ^= 4;
        }
        let whole = || {
            release
                .whole
                .clone()
                .map(|whole| self.elsewhere.file(whole))
        };
        let mut applied = self.apply(machine, self.network.file(bundle), whole());
        // Where a faulty disk has cost the base, its owner takes the whole bundle.
        if self.demand == Demand::Safety
            && let (true, Some(whole)) = (is_refusal(&applied), whole())
        {
            applied = self.apply(machine, whole, None);
        }
        match applied {
            Ok(Outcome::Activated(_)) => Then::Restart,
            Ok(_) => Then::Rest,
            Err(_) if matches!(self.wish, Wish::RunDamaged(_)) => Then::Rest,
            // What another fault has brought to a place that is worn out cannot stay there.
            Err(_) if self.demand == Demand::Safety && self.disk.is_worn() => Then::Rest,
            Err(error) => self.stopped(&error.to_string()),
        }
    }

    /// An update from a pipe that breaks at half way.
    fn interrupt(&mut self, machine: &Machine, release: &Release) {
        let half = release.bundle.len() as u64 / 2;
        let mut pipe =
            MemorySource::new(release.bundle.clone(), 4096).with_faults([Fault::DropAfter(half)]);
        pipe.seekable = false;
        if self.apply(machine, pipe, None).is_ok() {
            self.violate("an update from half a bundle succeeded".to_owned());
        }
    }

    fn apply<S: Source>(
        &self,
        machine: &Machine,
        source: S,
        whole: Option<S>,
    ) -> Result<Outcome, Failure> {
        let (target, options) = (self.target(machine), self.options());
        self.runtime.block_on(async {
            let mut incoming =
                Incoming::open(source, options.trust, options.retries, &|_, _| {}).await?;
            if let Some(whole) = whole {
                incoming = incoming.with_full(whole, &|_, _| {});
            }
            incoming.apply(&target, &options, &Silent).await
        })
    }

    fn target(&self, machine: &Machine) -> updater::Machine<'_> {
        updater::Machine {
            disk: machine.disk.clone(),
            store: machine.store.clone(),
            vars: Some(&self.vars),
            booted: machine.booted().unwrap_or(Choice::Recovery),
            now: 0,
        }
    }

    fn options(&self) -> Options<'_> {
        Options {
            trust: &self.releases.trust,
            place_guard: None,
            tries: record::TRIAL_TRIES,
            read_back: true,
            adaptive: true,
            jobs: 1,
            retries: RETRIES,
            plan_only: false,
        }
    }

    /// Mends `slot`, which holds the release `held`.
    pub(super) fn repair(&mut self, machine: &Machine, slot: Slot, held: &str) -> Then {
        let source: SimSource = self.network.file(self.releases.get(held).bundle.clone());
        let (target, options) = (self.target(machine), self.options());
        let repaired = self.runtime.block_on(async {
            let incoming =
                Incoming::open(source, options.trust, options.retries, &|_, _| {}).await?;
            incoming.repair(slot, &target, &options, &Silent).await
        });
        match &repaired {
            Ok(Repaired::Whole(_) | Repaired::Mended(_)) => Then::Rest,
            // A faulty disk has cost the slot itself: there is nothing to mend any more.
            Err(_) if self.demand == Demand::Safety && is_refusal(&repaired) => Then::Rest,
            Err(error) => self.stopped(&error.to_string()),
        }
    }

    /// Compares both slots: B is whole, A is not, and nothing is written.
    pub(super) fn compare(&mut self, machine: &Machine) -> Then {
        let record = match machine.store.read() {
            Ok(record) => record,
            Err(error) => return self.stopped(&error.to_string()),
        };
        let before = (self.disk.operations(), self.disk.medium());
        for slot in Slot::ALL {
            let question = Question {
                disk: &machine.disk,
                state: record.slot(slot),
                slot,
                trust: &self.releases.trust,
                release: None,
                jobs: 1,
            };
            let report = match self.runtime.block_on(verify_slot(&question, &Silent)) {
                Ok(report) => report,
                // A faulty disk has cost the slot itself.
                Err(_) if self.demand == Demand::Safety => return Then::Rest,
                Err(error) => return self.stopped(&error.to_string()),
            };
            let as_it_is =
                report.is_whole() == (slot == Slot::B) && report.is_damaged() == (slot == Slot::A);
            if self.demand == Demand::Everything && !as_it_is {
                self.violate(format!("comparing slot {slot} gives {report:?}"));
            }
        }
        if before != (self.disk.operations(), self.disk.medium()) {
            self.violate("comparing changed the disk".to_owned());
        }
        Then::Rest
    }
}
