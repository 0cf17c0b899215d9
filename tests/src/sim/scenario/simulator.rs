//! Makes the initial state of a scenario and runs machines.

use super::{Damage, InitialDisk, Scenario};
use crate::sim::hardware::history::History;
use crate::sim::hardware::image::Image;
use crate::sim::hardware::layout::{DISK_LEN, Region};
use crate::sim::hardware::operation::Operation;
use crate::sim::hardware::state::{MachineState, Variables};
use crate::sim::machine::firmware::Assertions;
use crate::sim::machine::workload::Workload;
use crate::sim::machine::{RunResult, SimMachine};
use crate::sim::other_system::{self, OtherSystem};
use crate::sim::releases::Releases;
use anyhow::{Context as _, bail, ensure};
use std::sync::Arc;

/// The environment of simulated machines: releases, runtime, disks with another system.
pub struct Simulator {
    /// All releases.
    pub releases: Releases,
    /// The runtime of the updater's threads and timers.
    pub runtime: tokio::runtime::Runtime,
    /// The other system on disks with sectors of 512 and of 4096 bytes.
    other_systems: [(OtherSystem, MachineState); 2],
}

impl Simulator {
    /// Makes the releases and the runtime.
    ///
    /// # Errors
    /// When a bundle cannot be made or a thread cannot be started.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .enable_time()
            .build()?;
        let other = |sector_size| {
            let mut state = blank();
            Ok::<_, anyhow::Error>((OtherSystem::install(&mut state, sector_size)?, state))
        };
        let other_systems = [other(512)?, other(4096)?];
        Ok(Self {
            releases: Releases::make()?,
            runtime,
            other_systems,
        })
    }

    fn other_disk(&self, sector_size: u32) -> anyhow::Result<&(OtherSystem, MachineState)> {
        let size = u64::from(sector_size);
        self.other_systems
            .iter()
            .find(|(other, _)| other.sector() == size)
            .context("no disk with such sectors")
    }

    /// The other system on disks with sectors of this size.
    #[must_use]
    pub fn other(&self, sector_size: u32) -> Option<&OtherSystem> {
        self.other_disk(sector_size).ok().map(|(other, _)| other)
    }

    /// Returns a machine in this state.
    ///
    /// # Errors
    /// As [`SimMachine::new`].
    pub fn machine(
        &self,
        state: &MachineState,
        sector_size: u32,
        workload: Workload,
        assertions: Assertions,
    ) -> anyhow::Result<SimMachine<'_>> {
        let other = self.other(sector_size).filter(|_| state.history.other);
        SimMachine::new(
            (&self.releases, &self.runtime),
            other,
            state,
            sector_size,
            workload,
            assertions,
        )
    }

    /// Returns the initial state of `scenario`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn initial_state(
        &self,
        scenario: &Scenario,
        sector_size: u32,
    ) -> anyhow::Result<MachineState> {
        let mut state = match scenario.disk {
            InitialDisk::Blank => blank(),
            InitialDisk::Foreign => foreign(sector_size),
            InitialDisk::OtherSystem => self.other_disk(sector_size)?.1.clone(),
            InitialDisk::UnfinishedBesideOtherSystem => {
                self.unfinished_installation(sector_size)?
            }
            InitialDisk::BesideOtherSystem(versions) => self.installed(
                self.other_disk(sector_size)?.1.clone(),
                versions,
                sector_size,
            )?,
            InitialDisk::Installed(versions) => self.installed(blank(), versions, sector_size)?,
        };
        state.history.stick = matches!(scenario.workload, Workload::Install(_));
        state.history.recovery = false;
        damage(&mut state, scenario.damage, sector_size);
        Ok(state)
    }

    /// An installation beside the other system, interrupted at the first write of the root image.
    fn unfinished_installation(&self, sector_size: u32) -> anyhow::Result<MachineState> {
        let mut state = self.other_disk(sector_size)?.1.clone();
        let mut sim = self.machine(
            &state,
            sector_size,
            Workload::Install("1.0.0"),
            Assertions::All,
        )?;
        let run = sim.run_until_rest();
        ensure!(run.violation.is_none(), "{:?}", run.violation);
        let root = Region::Root(record::Slot::A);
        let root = root.start()..root.end();
        for op in sim.operation_log().take() {
            state.apply(&op);
            if matches!(op, Operation::Write { at, .. } if root.contains(&at)) {
                return Ok(state);
            }
        }
        bail!("no root image was written")
    }

    fn installed(
        &self,
        mut state: MachineState,
        versions: &[&'static str],
        sector_size: u32,
    ) -> anyhow::Result<MachineState> {
        for (version, number) in versions.iter().zip(0..) {
            let workload = if number == 0 {
                Workload::Install(version)
            } else {
                Workload::Update(version)
            };
            let run = self
                .machine(&state, sector_size, workload, Assertions::All)?
                .run_until_rest();
            ensure!(run.violation.is_none(), "{version}: {:?}", run.violation);
            let (_, running) = run.final_state.running.context("nothing runs")?;
            ensure!(running == *version, "{running} runs instead of {version}");
            state = run.state;
        }
        // Data of the user, which must not change.
        state
            .image
            .write(Region::Data.start() + 5 * 4096, b"data of the user");
        Ok(state)
    }

    /// Returns a machine with the workload and the faults of `scenario`.
    ///
    /// # Errors
    /// As [`Simulator::machine`].
    pub fn machine_of(
        &self,
        scenario: &Scenario,
        start: &MachineState,
        sector_size: u32,
    ) -> anyhow::Result<SimMachine<'_>> {
        let mut sim = self.machine(start, sector_size, scenario.workload, Assertions::All)?;
        sim.set_faults(&scenario.faults());
        Ok(sim)
    }

    /// Runs a machine from `state` with the workload and the faults of `scenario`.
    ///
    /// # Errors
    /// As [`Simulator::machine`].
    pub fn run_from(
        &self,
        scenario: &Scenario,
        state: &MachineState,
        sector_size: u32,
        assertions: Assertions,
    ) -> anyhow::Result<RunResult> {
        let mut sim = self.machine(state, sector_size, scenario.workload, assertions)?;
        sim.set_faults(&scenario.faults());
        Ok(sim.run_until_rest())
    }
}

fn blank() -> MachineState {
    let history = History {
        stick: true,
        ..History::default()
    };
    MachineState {
        image: Image::new(DISK_LEN),
        vars: Arc::new(Variables::new()),
        history,
    }
}

/// A disk full of foreign data, with a valid partition table of one partition.
fn foreign(sector_size: u32) -> MachineState {
    let mut state = blank();
    let sector = u64::from(sector_size);
    let last = DISK_LEN / sector - 1;
    let mut entry = [0; 128];
    entry[..16].copy_from_slice(&[0xaf; 16]);
    entry[16..32].copy_from_slice(&[0x17; 16]);
    entry[32..40].copy_from_slice(&(1024 * 1024 / sector).to_le_bytes());
    entry[40..48].copy_from_slice(&(last - 40).to_le_bytes());
    other_system::write_table(&mut state, sector, [0x33; 16], &entry);
    other_system::old_bytes(&mut state);
    state
}

fn damage(state: &mut MachineState, damage: Damage, sector_size: u32) {
    let copy = |copy: u8| Region::State.start() + u64::from(copy) * 1020 * 1024;
    let boot_a = Region::Boot(record::Slot::A).start() + 8000;
    match damage {
        // These are faults of the whole scenario.
        Damage::RootUnreadable | Damage::RootCorrupt | Damage::None | Damage::StoreFull => {}
        Damage::ReleaseFails => state.history.failing = Some(record::Slot::B),
        Damage::NoVariables => state.vars = Arc::new(Variables::new()),
        Damage::PrimaryTable => state.image.write(u64::from(sector_size) + 24, &[0xff; 8]),
        Damage::BackupTable => {
            state.image.write(
                DISK_LEN - u64::from(sector_size),
                &vec![0; sector_size as usize],
            );
        }
        Damage::OneRecord(number) => state.image.write(copy(number) + 100, &[0xff; 64]),
        Damage::BothRecords => {
            state.image.write(copy(0) + 100, &[0xff; 64]);
            state.image.write(copy(1) + 100, &[0xff; 64]);
        }
        Damage::BootImage => state.image.write(boot_a, &[0xff; 64]),
        Damage::BothImages => {
            state.image.write(boot_a, &[0xff; 64]);
            state
                .image
                .write(Region::Root(record::Slot::A).start() + 20_000, &[0xff; 64]);
        }
    }
}
