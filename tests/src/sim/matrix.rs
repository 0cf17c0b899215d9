//! All cuts of a scenario, the cuts of what follows each, and what came of them.

use super::cut::{Class, Cut, Thoroughness, Trace};
use super::disk::{Fault, FaultKind, Meddle};
use super::firmware::Demand;
use super::journal::Op;
use super::oracle::record_copy;
use super::place::Place;
use super::scenario::{Damage, Lab, Scenario};
use super::state::{State, hash_of};
use super::world::{End, Life, Trouble};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How much of the matrix is run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of the first cut.
    pub first: Thoroughness,
    /// Of the second.
    pub second: Thoroughness,
    /// Of the first cuts, every one in so many is cut again; 0 for none.
    pub double_every: usize,
    /// After this long no second cuts are begun.
    pub limit: Duration,
    /// Whether each operation is made to fail, too.
    pub faults: bool,
}

/// What came of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The scenario.
    pub scenario: String,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Operations of the run without a cut.
    pub operations: usize,
    /// Cuts between two operations.
    pub prefix: usize,
    /// Cuts inside of a write.
    pub torn: usize,
    /// Subsets of what was not flushed.
    pub subset: usize,
    /// Lies and flipped bits.
    pub faulty: usize,
    /// Different machines among all of those: each was run.
    pub unique: usize,
    /// Second cuts.
    pub double: usize,
    /// Machines after a second cut that differ in more than the event ring, sequence numbers, and what stands in a
    /// copy of the record that is not whole: each was run.
    pub double_unique: usize,
    /// Runs with a disk or a store that fails at one operation.
    pub faults: usize,
    /// Most starts until rest.
    pub most_starts: usize,
    /// What must not be, with a command that repeats it.
    pub violations: Vec<String>,
    /// Seconds that it took.
    pub seconds: u64,
}

/// One scenario on one size of sectors, while it is explored.
pub struct Explorer<'a> {
    lab: &'a Lab,
    scenario: &'static Scenario,
    sector_size: u32,
    expected: End,
    trace: Trace,
    counts: Counts,
}

/// Most violations that are told of one scenario.
const MOST_TOLD: usize = 5;

impl<'a> Explorer<'a> {
    /// Runs the scenario once, without a cut.
    ///
    /// # Errors
    /// If that does not come to the end that it should.
    pub fn new(lab: &'a Lab, scenario: &'static Scenario, sector_size: u32) -> anyhow::Result<Self> {
        let start = lab.start(scenario, sector_size)?;
        let mut world = lab.run(scenario, &start, sector_size)?;
        let life = world.live();
        let ops = world.journal().take();
        let running = life.end.running.map(|(_, version)| version);
        anyhow::ensure!(
            life.violation.is_none() && running == Some(scenario.ends_with),
            "{} without a cut: {:?} {:?}",
            scenario.name,
            life.end,
            life.violation
        );
        let counts = Counts {
            scenario: scenario.name.to_owned(),
            sector_size,
            operations: ops.len(),
            ..Counts::default()
        };
        let trace = Trace::new(start, ops, sector_size);
        Ok(Self { lab, scenario, sector_size, expected: life.end, trace, counts })
    }

    /// The run without a cut.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Lets the machine live on after `cuts`, one after the other; the words of a violation, if there is one.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn repeat(&self, cuts: &[Cut]) -> anyhow::Result<(Life, Option<String>)> {
        let mut trace = self.trace.clone();
        let mut demand = Demand::Everything;
        for (number, cut) in cuts.iter().enumerate() {
            let state = trace.state(*cut);
            demand = demand_of(demand, *cut);
            if number + 1 < cuts.len() {
                trace = self.trace_from(state, demand)?;
            } else {
                let life = self.lab.live_on(self.scenario, &state, self.sector_size, demand)?;
                let violation = self.verdict(&life, demand);
                return Ok((life, violation));
            }
        }
        let life = self.lab.live_on(self.scenario, self.trace.after(0), self.sector_size, demand)?;
        let violation = self.verdict(&life, demand);
        Ok((life, violation))
    }

    /// The violations that the cuts of a run show in which `meddle` changes the order of what is written, or leaves
    /// something out: a mutant of the programs. The machine lives on after the cut without it.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn mutant(&self, meddle: &Meddle, first: &Thoroughness) -> anyhow::Result<Option<String>> {
        let start = self.trace.after(0).clone();
        let mut world = self.lab.world(&start, self.sector_size, self.scenario.wish, Demand::Everything)?;
        let trouble = Trouble { meddle: Some(Meddle::clone(meddle)), ..self.scenario.trouble() };
        world.trouble(&trouble);
        let life = world.live();
        if life.violation.is_some() {
            return Ok(life.violation);
        }
        let trace = Trace::new(start, world.journal().take(), self.sector_size);
        for cut in trace.cuts(first) {
            let state = trace.state(cut);
            let life = self.lab.live_on(self.scenario, &state, self.sector_size, Demand::Everything)?;
            if let Some(words) = self.verdict(&life, Demand::Everything) {
                return Ok(Some(format!("{cut}: {words}")));
            }
        }
        Ok(None)
    }

    /// Lets each operation of the disk fail in each way, once and from then on, and each write to the variables;
    /// then the machine is mended and switched on again.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn faults(&mut self) -> anyhow::Result<()> {
        let start = self.trace.after(0).clone();
        let operations = (0..=self.trace.len())
            .map(|at| self.trace.operation(at))
            .filter(|op| matches!(op, Some(Op::Write { .. } | Op::Flush)))
            .count();
        let mut troubles = Vec::new();
        for at in 0..operations {
            for kind in FaultKind::ALL {
                for forever in [false, true] {
                    let fault = Some(Fault { at, kind, forever });
                    troubles.push(Trouble { fault, patience: 6, ..self.scenario.trouble() });
                }
            }
        }
        let full = |writes| Trouble { full_after: Some(writes), ..Trouble::default() };
        troubles.extend((0..8).map(full));
        for trouble in troubles {
            self.counts.faults += 1;
            self.fault(&start, &trouble)?;
        }
        Ok(())
    }

    fn fault(&mut self, start: &State, trouble: &Trouble) -> anyhow::Result<()> {
        let demand = Demand::Safety;
        let mut world = self.lab.world(start, self.sector_size, self.scenario.wish, demand)?;
        world.trouble(trouble);
        let life = world.live();
        let mended = self.lab.live_on(self.scenario, &life.state, self.sector_size, demand)?;
        let restless = |words: &&String| !words.starts_with("still restless");
        let words =
            life.violation.as_ref().filter(restless).cloned().or_else(|| self.verdict(&mended, demand));
        if let Some(words) = words
            && self.counts.violations.len() < MOST_TOLD
        {
            let Trouble { fault, full_after, .. } = trouble;
            self.counts
                .violations
                .push(format!("{words}\n    with {fault:?}, variables full after {full_after:?}"));
        }
        Ok(())
    }

    /// Takes every cut, and cuts again.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn explore(mut self, effort: &Effort) -> anyhow::Result<Counts> {
        let began = Instant::now();
        let mut seen = HashSet::new();
        let mut seen_double = HashSet::new();
        // A machine that is damaged already may not survive further damage.
        let faulty = if self.scenario.damage == Damage::None { effort.first.faulty } else { 0 };
        let cuts = self.trace.cuts(&Thoroughness { faulty, ..effort.first });
        for (number, cut) in cuts.iter().enumerate() {
            self.count(*cut);
            let state = self.trace.state(*cut);
            if !seen.insert(state.key()) {
                continue;
            }
            self.counts.unique += 1;
            self.judge(&state, &[*cut], demand_of(Demand::Everything, *cut))?;
            let again = effort.double_every > 0
                && number % effort.double_every == 0
                && cut.class() != Class::Faulty
                && began.elapsed() < effort.limit;
            if again {
                self.cut_again(state, *cut, effort, &mut seen_double)?;
            }
        }
        if effort.faults {
            self.faults()?;
        }
        self.counts.seconds = began.elapsed().as_secs();
        Ok(self.counts)
    }

    fn cut_again(
        &mut self,
        state: State,
        first: Cut,
        effort: &Effort,
        seen: &mut HashSet<(u64, u64)>,
    ) -> anyhow::Result<()> {
        let trace = self.trace_from(state, Demand::Everything)?;
        for cut in trace.cuts(&effort.second) {
            if cut.class() == Class::Faulty {
                continue;
            }
            self.counts.double += 1;
            let state = trace.state(cut);
            if seen.insert(essence(&state)) {
                self.counts.double_unique += 1;
                self.judge(&state, &[first, cut], Demand::Everything)?;
            }
        }
        Ok(())
    }

    fn trace_from(&self, state: State, demand: Demand) -> anyhow::Result<Trace> {
        let mut world = self.lab.world(&state, self.sector_size, self.scenario.wish, demand)?;
        world.trouble(&self.scenario.trouble());
        world.live();
        let ops: Vec<Op> = world.journal().take();
        Ok(Trace::new(state, ops, self.sector_size))
    }

    fn judge(&mut self, state: &State, cuts: &[Cut], demand: Demand) -> anyhow::Result<()> {
        let life = self.lab.live_on(self.scenario, state, self.sector_size, demand)?;
        self.counts.most_starts = self.counts.most_starts.max(life.starts);
        if let Some(words) = self.verdict(&life, demand)
            && self.counts.violations.len() < MOST_TOLD
        {
            let cuts: Vec<String> = cuts.iter().map(|cut| format!(" --cut {cut}")).collect();
            let (name, sector) = (self.scenario.name, self.sector_size);
            let command = format!("scripts/prove one --scenario {name} --sector {sector}{}", cuts.concat());
            self.counts.violations.push(format!("{words}\n    repeat: {command}"));
        }
        Ok(())
    }

    fn verdict(&self, life: &Life, demand: Demand) -> Option<String> {
        if life.violation.is_some() {
            return life.violation.clone();
        }
        match demand {
            Demand::Everything if life.end != self.expected && !self.may_end(&life.end) => {
                Some(format!("ends with {:?} instead of {:?}", life.end, self.expected))
            }
            // An installation that was cut off may leave a disk that nothing starts from.
            Demand::Safety if life.end.running.is_none() && !self.scenario.installs() => {
                Some("nothing can be started any more".to_owned())
            }
            Demand::Everything | Demand::Safety => None,
        }
    }

    fn may_end(&self, end: &End) -> bool {
        self.scenario.or_with.is_some() && end.running.map(|(_, version)| version) == self.scenario.or_with
    }

    const fn count(&mut self, cut: Cut) {
        match cut.class() {
            Class::Prefix => self.counts.prefix += 1,
            Class::Torn => self.counts.torn += 1,
            Class::Subset => self.counts.subset += 1,
            Class::Faulty => self.counts.faulty += 1,
        }
    }
}

fn demand_of(before: Demand, cut: Cut) -> Demand {
    if cut.class() == Class::Faulty { Demand::Safety } else { before }
}

/// A number that is the same for machines that differ in nothing that any decision looks at: the event ring, how
/// high the sequence numbers of the record are, and what stands in a copy that is not whole are left out.
fn essence(state: &State) -> (u64, u64) {
    let start = Place::State.start();
    let ours = state.image.hash_of(start..Place::State.end());
    let copies =
        [(0, start), (1, start + 1020 * 1024)].map(|(number, at)| record_copy(&state.image, at, number));
    let order = copies[0].as_ref().map(|(seq, _)| seq).cmp(&copies[1].as_ref().map(|(seq, _)| seq));
    let content = copies.map(|copy| copy.map(|(_, rest)| rest));
    let vars: Vec<_> = state.vars.iter().map(|(name, value)| (name, &value.data)).collect();
    (state.image.hash() ^ ours, hash_of(&(order, content, vars, state.witness)))
}
