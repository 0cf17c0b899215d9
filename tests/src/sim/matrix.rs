//! All cuts of a scenario, the cuts of what follows each, and what came of them.

use super::cut::{Class, Cut, Thoroughness};
use super::disk::{Fault, FaultKind, Meddle};
use super::firmware::Demand;
use super::journal::Op;
use super::oracle::record_copy;
use super::place::Place;
use super::reduce::{Case, Runs, reduce};
use super::scenario::{Damage, Lab, Scenario};
use super::state::{State, hash_of};
use super::trace::Trace;
use super::trouble::{Mishap, Trouble};
use super::world::{End, Life, World};
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
    /// Whether each write, read and request is made to fail, too.
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
    /// Machines after a second cut that differ in more than the event ring, sequence numbers, and
    /// what stands in a copy of the record that is not whole: each was run.
    pub double_unique: usize,
    /// Runs with a disk or a store that fails at one operation.
    pub faults: usize,
    /// Runs with a disk that cannot be read at one place, or from then on.
    pub reads: usize,
    /// Runs with a network that goes wrong at one request, and cuts of such runs.
    pub requests: usize,
    /// Most starts until rest.
    pub most_starts: usize,
    /// What must not be, with a command that repeats it.
    pub violations: Vec<String>,
    /// Seconds that it took.
    pub seconds: u64,
}

/// One scenario on one size of sectors, while it is explored.
pub struct Explorer<'a> {
    pub(super) lab: &'a Lab,
    pub(super) scenario: &'static Scenario,
    pub(super) sector_size: u32,
    pub(super) expected: End,
    pub(super) trace: Trace,
    /// Reads of the run without a cut.
    pub(super) reads: usize,
    /// Requests of the run without a cut.
    pub(super) requests: usize,
    pub(super) counts: Counts,
}

/// Most violations that are told of one scenario.
const MOST_TOLD: usize = 5;

impl<'a> Explorer<'a> {
    /// Runs the scenario once, without a cut.
    ///
    /// # Errors
    /// If that does not come to the end that it should.
    pub fn new(
        lab: &'a Lab,
        scenario: &'static Scenario,
        sector_size: u32,
    ) -> anyhow::Result<Self> {
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
        let (reads, (requests, _)) = (world.reads(), world.requests());
        Ok(Self {
            lab,
            scenario,
            sector_size,
            expected: life.end,
            trace,
            reads,
            requests,
            counts,
        })
    }

    /// The run without a cut.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Lets the machine live through `case`; how it lived on after the last thing that went wrong,
    /// and the words of a violation, if there is one.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn repeat(&self, case: &Case) -> anyhow::Result<(Life, Option<String>)> {
        let Some((last, before)) = case.cuts.split_last() else {
            return match case.mishap {
                Some(mishap) => self.mishap(mishap),
                None => self.live_on(self.trace.after(0), case),
            };
        };
        let before = Case {
            cuts: before.to_vec(),
            ..case.clone()
        };
        let state = self.trace_of(&before)?.state(*last);
        self.live_on(&state, case)
    }

    /// Lets the machine live on from `state`, which `case` has brought about.
    pub(super) fn live_on(
        &self,
        state: &State,
        case: &Case,
    ) -> anyhow::Result<(Life, Option<String>)> {
        let life = self
            .lab
            .live_on(self.scenario, state, self.sector_size, demand_of(case))?;
        let violation = self.verdict(&life, case);
        Ok((life, violation))
    }

    /// The first case in which a cut of a run shows a violation in which `meddle` changes the order
    /// of what is written, or leaves something out: a mutant of the programs. The machine lives on
    /// after the cut without it. The case is reduced.
    ///
    /// # Errors
    /// As [`Lab::live_on`].
    pub fn mutant(
        mut self,
        meddle: &Meddle,
        first: &Thoroughness,
    ) -> anyhow::Result<Option<(Self, Case, String)>> {
        let start = self.trace.after(0).clone();
        let trouble = Trouble {
            meddle: Some(Meddle::clone(meddle)),
            ..self.scenario.trouble()
        };
        let mut world = self.world(&start, &trouble, Demand::Everything)?;
        let life = world.live();
        self.trace = Trace::new(start, world.journal().take(), self.sector_size);
        if let Some(words) = life.violation {
            return Ok(Some((self, Case::default(), words)));
        }
        for cut in self.trace.cuts(first) {
            let case = Case::of(&[cut]);
            if let Some(words) = self.fails(&case)? {
                let (case, words) = reduce(&self, case, words)?;
                return Ok(Some((self, case, words)));
            }
        }
        Ok(None)
    }

    pub(super) fn world(
        &self,
        state: &State,
        trouble: &Trouble,
        demand: Demand,
    ) -> anyhow::Result<World<'a>> {
        let mut world = self
            .lab
            .world(state, self.sector_size, self.scenario.wish, demand)?;
        world.trouble(trouble);
        Ok(world)
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
        let faulty = if self.scenario.damage == Damage::None {
            effort.first.faulty
        } else {
            0
        };
        let cuts = self.trace.cuts(&Thoroughness {
            faulty,
            ..effort.first
        });
        for (number, cut) in cuts.iter().enumerate() {
            self.count(*cut);
            let state = self.trace.state(*cut);
            if !seen.insert(state.key()) {
                continue;
            }
            self.counts.unique += 1;
            self.judge(&state, Case::of(&[*cut]))?;
            let again = effort.double_every > 0
                && number % effort.double_every == 0
                && cut.class() != Class::Faulty
                && began.elapsed() < effort.limit;
            if again {
                self.cut_again(state, *cut, effort, &mut seen_double)?;
            }
        }
        if effort.faults {
            self.writes_fail()?;
            self.reads_fail()?;
            self.requests_fail()?;
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
        let trace = self.trace_from(state, &self.scenario.trouble(), Demand::Everything)?;
        for cut in trace.cuts(&effort.second) {
            if cut.class() == Class::Faulty {
                continue;
            }
            self.counts.double += 1;
            let state = trace.state(cut);
            if seen.insert(essence(&state)) {
                self.counts.double_unique += 1;
                self.judge(&state, Case::of(&[first, cut]))?;
            }
        }
        Ok(())
    }

    fn trace_from(&self, state: State, trouble: &Trouble, demand: Demand) -> anyhow::Result<Trace> {
        let mut world = self.world(&state, trouble, demand)?;
        world.live();
        let ops: Vec<Op> = world.journal().take();
        Ok(Trace::new(state, ops, self.sector_size))
    }

    fn judge(&mut self, state: &State, case: Case) -> anyhow::Result<()> {
        let (life, violation) = self.live_on(state, &case)?;
        self.counts.most_starts = self.counts.most_starts.max(life.starts);
        self.told(case, violation)
    }

    /// Keeps a violation, with the smallest case that shows one and a command that repeats it.
    pub(super) fn told(&mut self, case: Case, violation: Option<String>) -> anyhow::Result<()> {
        let Some(words) = violation.filter(|_| self.counts.violations.len() < MOST_TOLD) else {
            return Ok(());
        };
        let first = case.to_string();
        let (case, words) = reduce(self, case, words)?;
        let (name, sector) = (self.scenario.name, self.sector_size);
        let command = format!("scripts/prove one --scenario {name} --sector {sector}");
        self.counts.violations.push(format!(
            "{words}\n    repeat: {command}{case}\n    reduced from:{first}"
        ));
        Ok(())
    }

    /// What must not be at the end of a life after `case`, and is.
    pub(super) fn verdict(&self, life: &Life, case: &Case) -> Option<String> {
        if let Some(words) = life
            .violation
            .as_ref()
            .filter(|words| !self.is_for_want_of_a_table(words, case))
        {
            return Some(words.clone());
        }
        if let Some(words) = self.other_written(life, case) {
            return Some(words);
        }
        match demand_of(case) {
            Demand::Everything if life.end != self.expected && !self.may_end(&life.end, case) => {
                Some(format!(
                    "ends with {:?} instead of {:?}",
                    life.end, self.expected
                ))
            }
            // An installation that was cut off may leave a disk that nothing starts from.
            Demand::Safety if life.end.running.is_none() && !self.scenario.installs() => {
                Some("nothing can be started any more".to_owned())
            }
            Demand::Everything | Demand::Safety => None,
        }
    }

    /// A disk that lies about flushes can lose both copies of a table that is being written:
    /// nothing is installed beside another system then, ever.
    fn is_for_want_of_a_table(&self, words: &str, case: &Case) -> bool {
        let lied = case.cuts.iter().any(|cut| cut.class() == Class::Faulty);
        lied && self.scenario.installs() && words.contains("it has no GPT to install beside")
    }

    /// The partitions of another system are never written, whatever the disk does; but for what
    /// goes astray.
    fn other_written(&self, life: &Life, case: &Case) -> Option<String> {
        let astray = matches!(
            case.mishap,
            Some(Mishap::Write(Fault {
                kind: FaultKind::Misdirected,
                ..
            }))
        );
        let other = self
            .lab
            .other(self.sector_size)
            .filter(|_| life.state.witness.other && !astray)?;
        other.check_content(&life.state.image).err()
    }

    fn may_end(&self, end: &End, case: &Case) -> bool {
        self.scenario
            .or_ends
            .iter()
            .any(|(cuts, other)| case.cuts.len() >= *cuts && end == other)
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

impl Runs for Explorer<'_> {
    fn trace_of(&self, case: &Case) -> anyhow::Result<Trace> {
        let mut trace = match case.mishap {
            None => self.trace.clone(),
            Some(mishap) => {
                let trouble = self.scenario.trouble().with(mishap);
                self.trace_from(self.trace.after(0).clone(), &trouble, demand_of(case))?
            }
        };
        for cut in &case.cuts {
            trace =
                self.trace_from(trace.state(*cut), &self.scenario.trouble(), demand_of(case))?;
        }
        Ok(trace)
    }

    fn fails(&self, case: &Case) -> anyhow::Result<Option<String>> {
        self.repeat(case).map(|(_, violation)| violation)
    }
}

/// A disk that lies, rots or gives errors may cost a release; a power cut and a bad network may
/// not.
fn demand_of(case: &Case) -> Demand {
    let faulty = case.cuts.iter().any(|cut| cut.class() == Class::Faulty);
    let by_disk = matches!(
        case.mishap,
        Some(Mishap::Write(_) | Mishap::Read(_) | Mishap::Full(_))
    );
    if faulty || by_disk {
        Demand::Safety
    } else {
        Demand::Everything
    }
}

/// A number that is the same for machines that differ in nothing that any decision looks at: the
/// event ring, how high the sequence numbers of the record are, and what stands in a copy that is
/// not whole are left out.
fn essence(state: &State) -> (u64, u64) {
    let start = Place::State.start();
    let ours = state.image.hash_of(start..Place::State.end());
    let copies = [(0, start), (1, start + 1020 * 1024)]
        .map(|(number, at)| record_copy(&state.image, at, number));
    let order = copies[0]
        .as_ref()
        .map(|(seq, _)| seq)
        .cmp(&copies[1].as_ref().map(|(seq, _)| seq));
    let content = copies.map(|copy| copy.map(|(_, rest)| rest));
    let vars: Vec<_> = state
        .vars
        .iter()
        .map(|(name, value)| (name, &value.data))
        .collect();
    (
        state.image.hash() ^ ours,
        hash_of(&(order, content, vars, state.witness)),
    )
}
