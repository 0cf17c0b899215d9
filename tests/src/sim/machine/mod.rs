//! A simulated machine from power-on until it rests: firmware, the real guard, and a system that
//! commits and runs its workload without help.
//!
//! | module | content |
//! | --- | --- |
//! | `assertions` | conditions that every machine must meet |
//! | `firmware` | the boot manager, and the real guard's view of the machine |
//! | `steps` | the steps of a workload, by the real updater |
//! | `workload` | the tasks of a machine's owner |

mod assertions;
pub mod firmware;
mod steps;
pub mod workload;

use firmware::{Assertions, Firmware, StartResult};
use workload::Workload;

use crate::sim::fault::Faults;
use crate::sim::hardware::disk::SimDisk;
use crate::sim::hardware::history::HistoryEvent;
use crate::sim::hardware::layout::{DISK_LEN, Region, layout};
use crate::sim::hardware::network::SimNetwork;
use crate::sim::hardware::operation::{Operation, OperationLog};
use crate::sim::hardware::state::MachineState;
use crate::sim::hardware::variables::SimVariables;
use crate::sim::oracle::DiskReader;
use crate::sim::other_system::OtherSystem;
use crate::sim::releases::{COMPATIBLE, Releases};
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::evidence;
use bootctl::links;
use bootctl::log::EventLog;
use bootctl::machine::{Machine, MachineError};
use bootctl::store::RecordStore;
use installer::install::{InstallOptions, InstallRequest, install};
use record::{Choice, Guid, Handoff, Pair, Slot, Text64};
use std::sync::Arc;
use updater::events::Silent;

/// State of a machine at rest, as far as scenarios compare it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FinalState {
    /// The running slot or recovery, and its version; `None` if nothing can be started.
    pub running: Option<(Choice, &'static str)>,
    /// Status of both slots: 0 Unbootable, 1 Pending, 2 Good.
    pub slots: [u8; 2],
    /// The floor.
    pub floor: u64,
}

/// Result of a run from power-on until the machine rests.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// State at rest.
    pub final_state: FinalState,
    /// Number of starts.
    pub starts: usize,
    /// The first failed assertion.
    pub violation: Option<String>,
    /// The machine, switched off.
    pub state: MachineState,
}

/// Writes the machine's compatible string into a rebuilt record, as `rayos-bootctl commit` does.
fn identify(machine: &Machine) -> Result<(), String> {
    let name = Text64::new(COMPATIBLE).unwrap_or(Text64::EMPTY);
    match machine.store.read() {
        Ok(record) if record.compatible == Text64::EMPTY => machine
            .identify(name)
            .map(drop)
            .map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

/// The machine's next step after the system has worked on the workload.
pub(super) enum NextStep {
    Restart,
    Rest,
}

/// Maximum number of starts until rest: all tries of two slots, and some.
const MAX_STARTS: usize = 32;

/// A simulated machine.
pub struct SimMachine<'a> {
    pub(super) releases: &'a Releases,
    pub(super) runtime: &'a tokio::runtime::Runtime,
    pub(super) workload: Workload,
    pub(super) assertions: Assertions,
    pub(super) disk: SimDisk,
    pub(super) vars: SimVariables,
    pub(super) network: SimNetwork,
    /// The server of full bundles, for deltas that cannot be applied.
    pub(super) full_bundles: SimNetwork,
    operation_log: OperationLog,
    other: Option<&'a OtherSystem>,
    /// Hash of the user's data before the run.
    data: u64,
    violation: Option<String>,
    /// The last error of an operation that is repeated after a restart.
    last_error: Option<String>,
    /// True if the workload has requested recovery.
    recovery_requested: bool,
    /// True if recovery was left once.
    recovery_left: bool,
    max_starts: usize,
}

impl<'a> SimMachine<'a> {
    /// Returns a machine in this state, switched off.
    ///
    /// # Errors
    /// As [`SimVariables::new`].
    pub fn new(
        (releases, runtime): (&'a Releases, &'a tokio::runtime::Runtime),
        other: Option<&'a OtherSystem>,
        state: &MachineState,
        sector_size: u32,
        workload: Workload,
        assertions: Assertions,
    ) -> anyhow::Result<Self> {
        let operation_log = OperationLog::after(state.history);
        let disk = SimDisk::new(state.image.clone(), sector_size, operation_log.clone());
        let vars = SimVariables::new(&state.vars, operation_log.clone())?;
        let data = state
            .image
            .hash_of(Region::Data.start()..Region::Data.end());
        Ok(Self {
            releases,
            runtime,
            workload,
            assertions,
            disk,
            vars,
            network: SimNetwork::default(),
            full_bundles: SimNetwork::default(),
            operation_log,
            other,
            data,
            violation: None,
            last_error: None,
            recovery_requested: false,
            recovery_left: false,
            max_starts: MAX_STARTS,
        })
    }

    /// Sets the faults of the run.
    pub fn set_faults(&mut self, faults: &Faults) {
        self.disk.set_write_fault(faults.write);
        self.disk.set_read_fault(faults.read);
        self.disk.set_bad_range(faults.bad_range);
        self.network.set_fault(faults.request);
        self.disk.set_write_filter(faults.write_filter.clone());
        self.max_starts = faults.max_starts.unwrap_or(MAX_STARTS);
        if let Some(writes) = faults.store_full_after {
            self.vars.fill_after(writes);
        }
    }

    /// Number of writes and flushes of the disk so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.disk.operations()
    }

    /// Number of reads of the disk so far.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.disk.reads()
    }

    /// Number of requests for bundles so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.network.requests()
    }

    /// Number of requests for full bundles so far, instead of a delta.
    #[must_use]
    pub fn full_bundle_requests(&self) -> usize {
        self.full_bundles.requests()
    }

    /// The log of operations.
    #[must_use]
    pub const fn operation_log(&self) -> &OperationLog {
        &self.operation_log
    }

    /// Switches the machine on and runs it until it rests.
    pub fn run_until_rest(&mut self) -> RunResult {
        let mut starts = 0;
        let mut last = None;
        while starts < self.max_starts && self.violation.is_none() {
            starts += 1;
            self.disk.restart();
            last = match self.start() {
                StartResult::Nothing => {
                    last = None;
                    break;
                }
                // The other system runs: the machine rests.
                StartResult::Other => {
                    last = None;
                    break;
                }
                StartResult::Restarted => None,
                StartResult::Up {
                    handoff,
                    version,
                    from_stick,
                } => {
                    let then = if from_stick {
                        self.install()
                    } else {
                        self.run_system(handoff, version)
                    };
                    match then {
                        NextStep::Restart => None,
                        NextStep::Rest => Some((handoff.choice, version)),
                    }
                }
            };
            if last.is_some() {
                break;
            }
        }
        if starts == self.max_starts && last.is_none() {
            let last_error = self
                .last_error
                .take()
                .map_or_else(String::new, |error| format!(", the last error: {error}"));
            self.violate(format!("not at rest after {starts} starts{last_error}"));
        }
        let state = MachineState {
            image: self.disk.medium(),
            vars: Arc::new(self.vars.all()),
            history: self.operation_log.history(),
        };
        let final_state = self.final_state(last, &state);
        RunResult {
            final_state,
            starts,
            violation: self.violation.take(),
            state,
        }
    }

    pub(super) fn violate(&mut self, words: String) {
        self.violation.get_or_insert(words);
    }

    fn start(&mut self) -> StartResult {
        self.check_other_system();
        let mut firmware = Firmware::new(
            self.releases,
            &self.disk,
            &self.vars,
            &self.operation_log,
            self.assertions,
        );
        if let (Workload::Install(version), true) =
            (self.workload, self.operation_log.history().stick)
        {
            firmware.stick = Some(self.releases.get(version));
        }
        let started = firmware.start_machine();
        let violation = firmware.violation.take();
        self.violation = self.violation.take().or(violation);
        started
    }

    /// Installs from the stick, which is removed afterwards.
    fn install(&mut self) -> NextStep {
        let Workload::Install(version) = self.workload else {
            return NextStep::Rest;
        };
        // The installation's ID is random in practice. Here it is one of two, the one that is not on
        // the disk, so that runs are repeatable and a new installation differs from an unfinished
        // one.
        let (image, sector) = (self.disk.medium(), self.disk.sector_size());
        let table = DiskReader {
            image: &image,
            sector: u64::from(sector),
        }
        .table()
        .unwrap_or_default();
        let first = layout().plan(DISK_LEN, sector, Guid([0x5a; 16]));
        let is_first = first.is_ok_and(|planned| {
            table
                .iter()
                .any(|it| it.uuid == planned.partitions[0].uuid.0)
        });
        let request = InstallRequest {
            device: Arc::new(self.disk.clone()),
            layout: &layout(),
            install_id: Guid([if is_first { 0xa5 } else { 0x5a }; 16]),
            compatible: Text64::new(COMPATIBLE),
            trust: &self.releases.trust,
            vars: Some(&self.vars),
            jobs: 1,
            now: 0,
            options: InstallOptions {
                beside: self.other.is_some(),
                ..InstallOptions::default()
            },
        };
        let bundle = self.releases.get(version).bundle.clone();
        match self
            .runtime
            .block_on(install(self.network.file(bundle), &request, &Silent))
        {
            Ok(_) => {
                self.operation_log
                    .push(Operation::Event(HistoryEvent::StickRemoved));
                NextStep::Restart
            }
            Err(error) => self.operation_failed(&error.to_string()),
        }
    }

    /// Handles an error of an operation: the machine restarts and tries again. Without a fault of the
    /// disk or a permanent fault of a request, the error is a violation.
    pub(super) fn operation_failed(&mut self, error: &str) -> NextStep {
        let by_network = self
            .network
            .fault()
            .is_some_and(|fault| !fault.kind.is_transient());
        if self.assertions == Assertions::All && !by_network {
            self.violate(format!("operation failed: {error}"));
        }
        self.last_error = Some(error.to_owned());
        NextStep::Restart
    }

    /// Runs the system that has started.
    fn run_system(&mut self, handoff: Handoff, version: &'static str) -> NextStep {
        let disk = match Disk::open(Arc::new(self.disk.clone())) {
            Ok(disk) => disk,
            Err(error) => return self.operation_failed(&error.to_string()),
        };
        let (store, log) = match (RecordStore::open(&disk), EventLog::open(&disk)) {
            (Ok(store), Ok(log)) => (store, log),
            (Err(error), _) | (_, Err(error)) => return self.operation_failed(&error.to_string()),
        };
        let vars = Box::new(self.vars.clone());
        let machine = Machine {
            disk,
            store,
            log,
            vars,
            handoff: Some(handoff),
            node: None,
        };
        match handoff.choice {
            Choice::Slot(slot) => self.in_slot(&machine, slot, version),
            Choice::Recovery => self.in_recovery(&machine),
        }
    }

    fn in_slot(&mut self, machine: &Machine, slot: Slot, version: &'static str) -> NextStep {
        self.operation_log
            .push(Operation::Event(HistoryEvent::Healthy(slot)));
        if let Err(error) = machine.commit(0) {
            return self.operation_failed(&error.to_string());
        }
        if let Err(words) = identify(machine) {
            return self.operation_failed(&words);
        }
        match self.workload {
            Workload::Idle | Workload::Install(_) => NextStep::Rest,
            Workload::Update(wanted)
            | Workload::UpdateInterrupted(wanted)
            | Workload::UpdateDamaged(wanted)
            | Workload::UpdateByDelta(wanted) => self.update(machine, wanted, version),
            Workload::RepairSlot(damaged, held) if damaged != slot => {
                self.repair_slot(machine, damaged, held)
            }
            Workload::RepairSlot(..) => NextStep::Rest,
            Workload::VerifySlots => self.verify_slots(machine),
            Workload::RollBack(to) if to != slot => match machine.rollback(0) {
                Ok(_) => NextStep::Restart,
                // The slot has no bootable release.
                Err(MachineError::Refused(_)) => NextStep::Rest,
                Err(error) => self.operation_failed(&error.to_string()),
            },
            Workload::MarkBad(bad) if bad != slot => match machine.mark_bad(bad, 0) {
                Ok(_) => NextStep::Rest,
                Err(error) => self.operation_failed(&error.to_string()),
            },
            Workload::BootRecoveryOnce
                if !self.operation_log.history().recovery && !self.recovery_requested =>
            {
                self.recovery_requested = true;
                match machine.boot_once(Choice::Recovery, 0) {
                    Ok(_) => NextStep::Restart,
                    Err(error) => self.operation_failed(&error.to_string()),
                }
            }
            Workload::RollBack(_) | Workload::MarkBad(_) | Workload::BootRecoveryOnce => {
                NextStep::Rest
            }
        }
    }

    /// Recovery rebuilds a lost record and applies the wanted release; otherwise it stays.
    fn in_recovery(&mut self, machine: &Machine) -> NextStep {
        if matches!(machine.store.pair(), Pair::Lost(_)) {
            let (found, _) = evidence::gather(
                &machine.disk,
                &links::chain(&machine.disk, self.releases.trust.clone()),
            );
            if let Some(record) = record::rebuild(machine.disk.partitions(), &found)
                && let Err(error) = machine.store.initialise(&record)
            {
                return self.operation_failed(&error.to_string());
            }
            return if machine.store.read().is_ok() {
                NextStep::Restart
            } else {
                NextStep::Rest
            };
        }
        if let Err(words) = identify(machine) {
            return self.operation_failed(&words);
        }
        match self.workload {
            Workload::Update(wanted)
            | Workload::UpdateInterrupted(wanted)
            | Workload::UpdateByDelta(wanted)
            | Workload::Install(wanted) => self.update(machine, wanted, "recovery"),
            // Recovery is left once. If it starts again, no slot can be started.
            Workload::BootRecoveryOnce if !std::mem::replace(&mut self.recovery_left, true) => {
                NextStep::Restart
            }
            _ => NextStep::Rest,
        }
    }

    fn final_state(
        &mut self,
        running: Option<(Choice, &'static str)>,
        state: &MachineState,
    ) -> FinalState {
        let reader = DiskReader {
            image: &state.image,
            sector: u64::from(self.disk.sector_size()),
        };
        let record = reader.record();
        if self.assertions == Assertions::All
            && self.violation.is_none()
            && let Err(words) = self.check_rest(running, state, &reader)
        {
            self.violate(words);
        }
        let slots = record.map_or([0; 2], |record| record.slots.map(|slot| slot.status));
        FinalState {
            running,
            slots,
            floor: record.map_or(0, |record| record.floor),
        }
    }
}
