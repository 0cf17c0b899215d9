//! All power cuts and faults of a scenario, and their results.
//!
//! | module | content |
//! | --- | --- |
//! | `assertions` | the assertions about a run after power cuts and faults |
//! | `counts` | how much is explored, and the results |
//! | `faults` | runs with faults other than power cuts |
//! | `minimize` | a failing case, made smaller |
//! | `state_key` | states that differ only in what no decision reads |

mod assertions;
pub mod counts;
mod faults;
pub mod minimize;
mod state_key;

use crate::sim::fault::Faults;
use crate::sim::hardware::disk::WriteFilter;
use crate::sim::hardware::operation::Operation;
use crate::sim::hardware::state::MachineState;
use crate::sim::machine::firmware::Assertions;
use crate::sim::machine::{FinalState, RunResult, SimMachine};
use crate::sim::power_cut::trace::Trace;
use crate::sim::power_cut::{CutClass, CutCoverage, PowerCut};
use crate::sim::scenario::{Damage, Scenario, Simulator};
use counts::{Counts, Coverage};
use minimize::{Case, Replay, minimize};
use state_key::decision_key;
use std::collections::HashSet;
use std::time::Instant;

/// Explores one scenario with one sector size.
pub struct Explorer<'a> {
    pub(super) simulator: &'a Simulator,
    pub(super) scenario: &'static Scenario,
    pub(super) sector_size: u32,
    pub(super) expected: FinalState,
    pub(super) trace: Trace,
    /// Number of reads of the run without a power cut.
    pub(super) reads: usize,
    /// Number of requests of the run without a power cut.
    pub(super) requests: usize,
    pub(super) counts: Counts,
}

/// Maximum number of violations that are reported for one scenario.
const MAX_REPORTED: usize = 5;

impl<'a> Explorer<'a> {
    /// Runs the scenario once without a power cut.
    ///
    /// # Errors
    /// When it does not end with the expected version.
    pub fn new(
        simulator: &'a Simulator,
        scenario: &'static Scenario,
        sector_size: u32,
    ) -> anyhow::Result<Self> {
        let start = simulator.initial_state(scenario, sector_size)?;
        let mut sim = simulator.machine_of(scenario, &start, sector_size)?;
        let run = sim.run_until_rest();
        let ops = sim.operation_log().take();
        let running = run.final_state.running.map(|(_, version)| version);
        anyhow::ensure!(
            run.violation.is_none() && running == Some(scenario.expected_version),
            "{} without a power cut: {:?} {:?}",
            scenario.name,
            run.final_state,
            run.violation
        );
        let counts = Counts {
            scenario: scenario.name.to_owned(),
            sector_size,
            operations: ops.len(),
            ..Counts::default()
        };
        let trace = Trace::new(start, ops, sector_size);
        let (reads, requests) = (sim.reads(), sim.requests());
        Ok(Self {
            simulator,
            scenario,
            sector_size,
            expected: run.final_state,
            trace,
            reads,
            requests,
            counts,
        })
    }

    /// The trace of the run without a power cut.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Runs the machine through `case`. Returns the run after its last power cut or fault, and the
    /// violation, if there is one.
    ///
    /// # Errors
    /// As [`Simulator::run_from`].
    pub fn run_case(&self, case: &Case) -> anyhow::Result<(RunResult, Option<String>)> {
        let Some((last, before)) = case.cuts.split_last() else {
            return match case.fault {
                Some(fault) => self.run_with_fault(fault),
                None => self.run_from(self.trace.after(0), case),
            };
        };
        let before = Case {
            cuts: before.to_vec(),
            ..case.clone()
        };
        let state = self.trace_of(&before)?.state(*last);
        self.run_from(&state, case)
    }

    /// Runs the machine from `state`, the result of `case`.
    pub(super) fn run_from(
        &self,
        state: &MachineState,
        case: &Case,
    ) -> anyhow::Result<(RunResult, Option<String>)> {
        let run =
            self.simulator
                .run_from(self.scenario, state, self.sector_size, case.assertions())?;
        let violation = self.violation_of(&run, case);
        Ok((run, violation))
    }

    /// Searches a power cut that exposes a mutant of the programs, which `write_filter` makes by
    /// delaying or dropping writes. The mutant runs until the power cut; after it the programs run
    /// unchanged. Returns the minimized case and its violation.
    ///
    /// # Errors
    /// As [`Simulator::run_from`].
    pub fn find_mutant(
        mut self,
        write_filter: &WriteFilter,
        first: &CutCoverage,
    ) -> anyhow::Result<Option<(Self, Case, String)>> {
        let start = self.trace.after(0).clone();
        let faults = Faults {
            write_filter: Some(WriteFilter::clone(write_filter)),
            ..self.scenario.faults()
        };
        let mut sim = self.machine(&start, &faults, Assertions::All)?;
        let run = sim.run_until_rest();
        self.trace = Trace::new(start, sim.operation_log().take(), self.sector_size);
        if let Some(words) = run.violation {
            return Ok(Some((self, Case::default(), words)));
        }
        for cut in self.trace.cuts(first) {
            let case = Case::of(&[cut]);
            if let Some(words) = self.fails(&case)? {
                let (case, words) = minimize(&self, case, words)?;
                return Ok(Some((self, case, words)));
            }
        }
        Ok(None)
    }

    pub(super) fn machine(
        &self,
        state: &MachineState,
        faults: &Faults,
        assertions: Assertions,
    ) -> anyhow::Result<SimMachine<'a>> {
        let mut sim =
            self.simulator
                .machine(state, self.sector_size, self.scenario.workload, assertions)?;
        sim.set_faults(faults);
        Ok(sim)
    }

    /// Runs the machine after every power cut, after second power cuts, and with every fault.
    ///
    /// # Errors
    /// As [`Simulator::run_from`].
    pub fn explore(mut self, coverage: &Coverage) -> anyhow::Result<Counts> {
        let began = Instant::now();
        let mut seen = HashSet::new();
        let mut seen_double = HashSet::new();
        // A damaged machine may not survive a second damage.
        let faulty = if self.scenario.damage == Damage::None {
            coverage.first.faulty
        } else {
            0
        };
        let cuts = self.trace.cuts(&CutCoverage {
            faulty,
            ..coverage.first
        });
        for (number, cut) in cuts.iter().enumerate() {
            self.count(*cut);
            let state = self.trace.state(*cut);
            if !seen.insert(state.key()) {
                continue;
            }
            self.counts.unique += 1;
            self.check(&state, Case::of(&[*cut]))?;
            let twice = coverage.double_every > 0
                && number % coverage.double_every == 0
                && cut.class() != CutClass::Faulty
                && began.elapsed() < coverage.limit;
            if twice {
                self.cut_twice(state, *cut, coverage, &mut seen_double)?;
            }
        }
        if coverage.faults {
            self.writes_fail()?;
            self.reads_fail()?;
            self.requests_fail()?;
        }
        self.counts.seconds = began.elapsed().as_secs();
        Ok(self.counts)
    }

    /// Runs the machine after power cuts of the run that follows `first`.
    fn cut_twice(
        &mut self,
        state: MachineState,
        first: PowerCut,
        coverage: &Coverage,
        seen: &mut HashSet<(u64, u64)>,
    ) -> anyhow::Result<()> {
        let trace = self.trace_from(state, &self.scenario.faults(), Assertions::All)?;
        for cut in trace.cuts(&coverage.second) {
            if cut.class() == CutClass::Faulty {
                continue;
            }
            self.counts.double += 1;
            let state = trace.state(cut);
            if seen.insert(decision_key(&state)) {
                self.counts.double_unique += 1;
                self.check(&state, Case::of(&[first, cut]))?;
            }
        }
        Ok(())
    }

    fn trace_from(
        &self,
        state: MachineState,
        faults: &Faults,
        assertions: Assertions,
    ) -> anyhow::Result<Trace> {
        let mut sim = self.machine(&state, faults, assertions)?;
        sim.run_until_rest();
        let ops: Vec<Operation> = sim.operation_log().take();
        Ok(Trace::new(state, ops, self.sector_size))
    }

    fn check(&mut self, state: &MachineState, case: Case) -> anyhow::Result<()> {
        let (run, violation) = self.run_from(state, &case)?;
        self.counts.max_starts = self.counts.max_starts.max(run.starts);
        self.report(case, violation)
    }

    /// Records a violation with the minimized case and the command that repeats it.
    pub(super) fn report(&mut self, case: Case, violation: Option<String>) -> anyhow::Result<()> {
        let Some(words) = violation.filter(|_| self.counts.violations.len() < MAX_REPORTED) else {
            return Ok(());
        };
        let first = case.to_string();
        let (case, words) = minimize(self, case, words)?;
        let (name, sector) = (self.scenario.name, self.sector_size);
        let command = format!("scripts/prove one --scenario {name} --sector {sector}");
        self.counts.violations.push(format!(
            "{words}\n    repeat: {command}{case}\n    minimized from:{first}"
        ));
        Ok(())
    }

    const fn count(&mut self, cut: PowerCut) {
        match cut.class() {
            CutClass::Prefix => self.counts.prefix += 1,
            CutClass::Torn => self.counts.torn += 1,
            CutClass::Subset => self.counts.subset += 1,
            CutClass::Faulty => self.counts.faulty += 1,
        }
    }
}

impl Replay for Explorer<'_> {
    fn trace_of(&self, case: &Case) -> anyhow::Result<Trace> {
        let mut trace = match case.fault {
            None => self.trace.clone(),
            Some(fault) => {
                let faults = self.scenario.faults().with(fault);
                self.trace_from(self.trace.after(0).clone(), &faults, case.assertions())?
            }
        };
        for cut in &case.cuts {
            trace = self.trace_from(
                trace.state(*cut),
                &self.scenario.faults(),
                case.assertions(),
            )?;
        }
        Ok(trace)
    }

    fn fails(&self, case: &Case) -> anyhow::Result<Option<String>> {
        self.run_case(case).map(|(_, violation)| violation)
    }
}
