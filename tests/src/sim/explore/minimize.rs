//! Minimizes a failing case: fewer power cuts and faults, at earlier operations, with fewer sectors
//! kept of the last writes, as long as it fails.

use crate::sim::fault::Fault;
use crate::sim::machine::firmware::Assertions;
use crate::sim::power_cut::trace::Trace;
use crate::sim::power_cut::{CutClass, PowerCut};
use anyhow::Result;
use std::fmt;

/// Maximum number of runs for one case.
const MAX_RUNS: usize = 400;

/// The power cuts and the fault of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// A fault other than a power cut.
    pub fault: Option<Fault>,
    /// Power cuts; each is of the run that follows the one before it.
    pub cuts: Vec<PowerCut>,
}

impl Case {
    /// Returns a case of these power cuts without a fault. *Pure.*
    #[must_use]
    pub fn of(cuts: &[PowerCut]) -> Self {
        Self {
            fault: None,
            cuts: cuts.to_vec(),
        }
    }

    /// The assertions that a run of this case must meet: a disk that loses flushes, flips bits or
    /// returns errors may cost a release; power cuts and faults of requests may not. *Pure.*
    #[must_use]
    pub fn assertions(&self) -> Assertions {
        let faulty = self.cuts.iter().any(|cut| cut.class() == CutClass::Faulty);
        let by_disk = matches!(
            self.fault,
            Some(Fault::Write(_) | Fault::Read(_) | Fault::StoreFull(_))
        );
        if faulty || by_disk {
            Assertions::SafetyOnly
        } else {
            Assertions::All
        }
    }

    /// The measure that decreases: the number of power cuts and faults, then for each its kind, its
    /// position, and its amount.
    fn size(&self) -> (usize, bool, Vec<(usize, u64, u64)>) {
        let fault = self.fault.map(|fault| (0, fault.at() as u64, 0));
        let persistent = self.fault.is_some_and(|fault| fault.once().is_some());
        let number = usize::from(fault.is_some()) + self.cuts.len();
        (
            number,
            persistent,
            fault
                .into_iter()
                .chain(self.cuts.iter().map(size_of))
                .collect(),
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fault) = self.fault {
            write!(f, " --fault {fault}")?;
        }
        self.cuts
            .iter()
            .try_for_each(|cut| write!(f, " --cut {cut}"))
    }
}

/// Runs cases.
pub trait Replay {
    /// Returns the trace of the run after `case`.
    ///
    /// # Errors
    /// When it cannot be run.
    fn trace_of(&self, case: &Case) -> Result<Trace>;

    /// Returns the violation of `case`, if there is one.
    ///
    /// # Errors
    /// When it cannot be run.
    fn fails(&self, case: &Case) -> Result<Option<String>>;
}

/// Returns the smallest failing case that is found, and its violation. `case` must fail with the
/// violation `words`.
///
/// # Errors
/// As [`Replay`].
pub fn minimize(runs: &impl Replay, case: Case, words: String) -> Result<(Case, String)> {
    let (mut best, mut runs_left) = ((case, words), MAX_RUNS);
    loop {
        let Some(smaller) = next(runs, &best.0, &mut runs_left)? else {
            return Ok(best);
        };
        best = smaller;
    }
}

fn next(runs: &impl Replay, case: &Case, runs_left: &mut usize) -> Result<Option<(Case, String)>> {
    for smaller in candidates(runs, case)? {
        if smaller.size() >= case.size() {
            continue;
        }
        if *runs_left == 0 {
            return Ok(None);
        }
        *runs_left -= 1;
        if let Some(words) = runs.fails(&smaller)? {
            return Ok(Some((smaller, words)));
        }
    }
    Ok(None)
}

/// Smaller cases, the smallest first.
fn candidates(runs: &impl Replay, case: &Case) -> Result<Vec<Case>> {
    let mut found = Vec::new();
    if let Some(fault) = case.fault {
        found.push(Case {
            fault: None,
            ..case.clone()
        });
        let moved = earlier(fault.at()).map(|at| fault.moved_to(at));
        found.extend(fault.once().into_iter().chain(moved).map(|fault| Case {
            fault: Some(fault),
            ..case.clone()
        }));
    }
    for number in 0..case.cuts.len() {
        let mut without = case.clone();
        without.cuts.remove(number);
        found.push(without);
    }
    for (number, cut) in case.cuts.iter().enumerate() {
        let before = Case {
            cuts: case.cuts[..number].to_vec(),
            ..case.clone()
        };
        let trace = runs.trace_of(&before)?;
        for smaller in smaller(&trace, *cut) {
            let mut changed = case.clone();
            changed.cuts[number] = smaller;
            found.push(changed);
        }
    }
    Ok(found)
}

/// Kind of the power cut, the simplest first; its position; its amount.
fn size_of(cut: &PowerCut) -> (usize, u64, u64) {
    let (kind, at, amount) = match *cut {
        PowerCut::Prefix(at) => (0, at, 0),
        PowerCut::Head(at, bytes) => (1, at, bytes as u64),
        PowerCut::Tail(at, bytes) => (2, at, bytes as u64),
        PowerCut::Garbled(at, sector) => (3, at, sector as u64),
        PowerCut::Only(at, write) => (4, at, write as u64),
        PowerCut::Without(at, write) => (5, at, write as u64),
        PowerCut::Last(at, count) => (6, at, count as u64),
        PowerCut::Sectors(at, mask) => (7, at, u64::from(mask.count_ones())),
        PowerCut::Random(at, _) => (8, at, 0),
        PowerCut::Cached(at, _) => (9, at, 0),
        PowerCut::LostFlush(at, _) => (10, at, 0),
        PowerCut::BitFlip(at, _) => (11, at, 0),
    };
    (kind, at as u64, amount)
}

/// Smaller power cuts of the same trace, the smallest first.
fn smaller(trace: &Trace, cut: PowerCut) -> Vec<PowerCut> {
    let at = size_of(&cut).1 as usize;
    let mut found = vec![PowerCut::Prefix(at), PowerCut::Prefix(at + 1)];
    let one_write = |found: &mut Vec<PowerCut>| {
        let writes = trace.pending(at).count().min(64);
        found.extend(
            (0..writes).flat_map(|write| [PowerCut::Only(at, write), PowerCut::Without(at, write)]),
        );
    };
    match cut {
        PowerCut::Head(_, bytes) => {
            found.extend(earlier(bytes).map(|bytes| PowerCut::Head(at, bytes)))
        }
        PowerCut::Tail(_, bytes) => {
            found.extend(earlier(bytes).map(|bytes| PowerCut::Tail(at, bytes)))
        }
        PowerCut::Last(_, count) => {
            found.extend(earlier(count).map(|count| PowerCut::Last(at, count)))
        }
        PowerCut::Sectors(_, mask) => {
            one_write(&mut found);
            let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
            found.extend(halves(mask).map(|half| PowerCut::Sectors(at, half)));
            found.extend(bits.map(|bit| PowerCut::Sectors(at, mask & !(1 << bit))));
        }
        PowerCut::Random(_, seed) => {
            one_write(&mut found);
            found.extend(
                trace
                    .mask_of(at, seed)
                    .map(|mask| PowerCut::Sectors(at, mask)),
            );
        }
        PowerCut::LostFlush(_, seed) => found.push(PowerCut::Random(at, seed)),
        PowerCut::Without(..) | PowerCut::Cached(..) => one_write(&mut found),
        PowerCut::Prefix(_)
        | PowerCut::Garbled(..)
        | PowerCut::Only(..)
        | PowerCut::BitFlip(..) => {}
    }
    found.extend(earlier(at).map(|at| cut.moved_to(at)));
    found
}

/// The lower and the upper half of the bits that are set.
fn halves(mask: u64) -> impl Iterator<Item = u64> {
    let (mut lower, mut rest) = (0, mask);
    for _ in 0..mask.count_ones() / 2 {
        let bit = rest & rest.wrapping_neg();
        lower |= bit;
        rest &= !bit;
    }
    [lower, rest].into_iter()
}

/// Numbers below `at`, the smallest first.
fn earlier(at: usize) -> impl Iterator<Item = usize> {
    let steps = [at, at - at / 4, at / 2, at / 4, 4, 2, 1];
    steps
        .into_iter()
        .filter(|step| *step > 0)
        .filter_map(move |step| at.checked_sub(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::hardware::disk::{WriteFault, WriteFaultKind};
    use crate::sim::hardware::history::History;
    use crate::sim::hardware::image::Image;
    use crate::sim::hardware::operation::Operation;
    use crate::sim::hardware::state::MachineState;
    use std::sync::Arc;

    /// Twelve writes of two sectors each, flushed after every fourth. The function decides if a state
    /// fails.
    struct Fixed<F>(F);

    impl<F: Fn(&Case, &MachineState) -> bool> Replay for Fixed<F> {
        fn trace_of(&self, _: &Case) -> Result<Trace> {
            let base = MachineState {
                image: Image::new(1 << 20),
                vars: Arc::default(),
                history: History::default(),
            };
            let mut ops = Vec::new();
            for number in 0..12_u8 {
                let at = u64::from(number) * 4096;
                ops.push(Operation::Write {
                    at,
                    data: vec![number + 1; 1024].into(),
                });
                if number % 4 == 3 {
                    ops.push(Operation::Flush);
                }
            }
            Ok(Trace::new(base, ops, 512))
        }

        fn fails(&self, case: &Case) -> Result<Option<String>> {
            let trace = self.trace_of(case)?;
            let state = case
                .cuts
                .last()
                .map_or_else(|| trace.after(0).clone(), |cut| trace.state(*cut));
            Ok((self.0)(case, &state).then(|| "wrong".to_owned()))
        }
    }

    fn minimized(runs: &impl Replay, case: Case) -> Result<String> {
        assert!(runs.fails(&case)?.is_some(), "{case} does not fail");
        let (case, words) = minimize(runs, case, "wrong".to_owned())?;
        assert_eq!(
            runs.fails(&case)?,
            Some(words),
            "the minimized case does not fail"
        );
        Ok(case.to_string())
    }

    #[test]
    fn a_random_subset_becomes_the_one_relevant_sector() -> Result<()> {
        let sector_of_sixth =
            |_: &Case, state: &MachineState| state.image.equals(5 * 4096 + 512, &[6; 512]);
        let runs = Fixed(|case: &Case, state: &MachineState| {
            // Fails if the sixth write is kept without the fifth.
            sector_of_sixth(case, state) && !state.image.equals(4 * 4096, &[5; 512])
        });
        let seed = (0..).find(|seed| {
            let cut = PowerCut::Random(9, *seed);
            runs.fails(&Case::of(&[cut]))
                .is_ok_and(|found| found.is_some())
        });
        let cuts = [
            PowerCut::Prefix(7),
            PowerCut::Random(9, seed.unwrap_or_default()),
        ];
        assert_eq!(minimized(&runs, Case::of(&cuts))?, " --cut only:7:1");
        Ok(())
    }

    #[test]
    fn a_power_cut_moves_to_the_first_failing_operation() -> Result<()> {
        let runs = Fixed(|_: &Case, state: &MachineState| state.image.equals(2 * 4096, &[3; 512]));
        assert_eq!(
            minimized(&runs, Case::of(&[PowerCut::Garbled(11, 1)]))?,
            " --cut prefix:3:0"
        );
        Ok(())
    }

    #[test]
    fn one_fault_is_left_of_many() -> Result<()> {
        let runs =
            Fixed(|case: &Case, _: &MachineState| case.fault.is_some_and(|fault| fault.at() >= 5));
        let fault = WriteFault {
            at: 90,
            kind: WriteFaultKind::Lost,
            persistent: true,
        };
        let case = Case {
            fault: Some(Fault::Write(fault)),
            cuts: vec![PowerCut::Prefix(3), PowerCut::LostFlush(9, 4)],
        };
        assert_eq!(minimized(&runs, case)?, " --fault write:5:lost");
        Ok(())
    }
}
