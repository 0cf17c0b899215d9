//! A failing case made smaller before anybody has to read it: fewer things that go wrong, earlier,
//! and of the last writes fewer sectors that are kept, as long as it still fails.

use super::cut::Cut;
use super::trace::Trace;
use super::trouble::Mishap;
use anyhow::Result;
use std::fmt;

/// Most runs that making one case smaller may take.
const MOST_RUNS: usize = 400;

/// What goes wrong in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Something besides the power.
    pub mishap: Option<Mishap>,
    /// Where the power fails; each after the first is of what follows the one before it.
    pub cuts: Vec<Cut>,
}

impl Case {
    /// These cuts and nothing else.
    #[must_use]
    pub fn of(cuts: &[Cut]) -> Self {
        Self {
            mishap: None,
            cuts: cuts.to_vec(),
        }
    }

    /// What is made smaller, the most important first: number of things that go wrong, then for
    /// each what kind it is, where, and how much of it.
    fn size(&self) -> (usize, bool, Vec<(usize, u64, u64)>) {
        let mishap = self.mishap.map(|mishap| (0, mishap.at() as u64, 0));
        let forever = self.mishap.is_some_and(|mishap| mishap.once().is_some());
        let number = usize::from(mishap.is_some()) + self.cuts.len();
        (
            number,
            forever,
            mishap
                .into_iter()
                .chain(self.cuts.iter().map(size_of))
                .collect(),
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mishap) = self.mishap {
            write!(f, " --mishap {mishap}")?;
        }
        self.cuts
            .iter()
            .try_for_each(|cut| write!(f, " --cut {cut}"))
    }
}

/// What can be run with any case.
pub trait Runs {
    /// What is done after the cuts of `case`.
    ///
    /// # Errors
    /// If it cannot be run.
    fn trace_of(&self, case: &Case) -> Result<Trace>;

    /// What must not be, and is; `None` if all is well.
    ///
    /// # Errors
    /// If it cannot be run.
    fn fails(&self, case: &Case) -> Result<Option<String>>;
}

/// The smallest case that is found and fails, and how. The first one must fail, in these `words`.
///
/// # Errors
/// As [`Runs`].
pub fn reduce(runs: &impl Runs, case: Case, words: String) -> Result<(Case, String)> {
    let (mut best, mut runs_left) = ((case, words), MOST_RUNS);
    loop {
        let Some(smaller) = next(runs, &best.0, &mut runs_left)? else {
            return Ok(best);
        };
        best = smaller;
    }
}

fn next(runs: &impl Runs, case: &Case, runs_left: &mut usize) -> Result<Option<(Case, String)>> {
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

/// Cases that are a little smaller; those that save most come first.
fn candidates(runs: &impl Runs, case: &Case) -> Result<Vec<Case>> {
    let mut found = Vec::new();
    if let Some(mishap) = case.mishap {
        found.push(Case {
            mishap: None,
            ..case.clone()
        });
        let moved = earlier(mishap.at()).map(|at| mishap.moved_to(at));
        found.extend(mishap.once().into_iter().chain(moved).map(|mishap| Case {
            mishap: Some(mishap),
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

/// What kind of cut it is, the simplest first; where; and how much of it.
fn size_of(cut: &Cut) -> (usize, u64, u64) {
    let (kind, at, amount) = match *cut {
        Cut::Prefix(at) => (0, at, 0),
        Cut::Head(at, bytes) => (1, at, bytes as u64),
        Cut::Tail(at, bytes) => (2, at, bytes as u64),
        Cut::Shorn(at, sector) => (3, at, sector as u64),
        Cut::Only(at, write) => (4, at, write as u64),
        Cut::Without(at, write) => (5, at, write as u64),
        Cut::Last(at, count) => (6, at, count as u64),
        Cut::Sectors(at, mask) => (7, at, u64::from(mask.count_ones())),
        Cut::Random(at, _) => (8, at, 0),
        Cut::Cached(at, _) => (9, at, 0),
        Cut::Lie(at, _) => (10, at, 0),
        Cut::Rot(at, _) => (11, at, 0),
    };
    (kind, at as u64, amount)
}

/// Cuts of the same run that are a little smaller; those that save most come first.
fn smaller(trace: &Trace, cut: Cut) -> Vec<Cut> {
    let at = size_of(&cut).1 as usize;
    let mut found = vec![Cut::Prefix(at), Cut::Prefix(at + 1)];
    let one_write = |found: &mut Vec<Cut>| {
        let writes = trace.pending(at).count().min(64);
        found.extend((0..writes).flat_map(|write| [Cut::Only(at, write), Cut::Without(at, write)]));
    };
    match cut {
        Cut::Head(_, bytes) => found.extend(earlier(bytes).map(|bytes| Cut::Head(at, bytes))),
        Cut::Tail(_, bytes) => found.extend(earlier(bytes).map(|bytes| Cut::Tail(at, bytes))),
        Cut::Last(_, count) => found.extend(earlier(count).map(|count| Cut::Last(at, count))),
        Cut::Sectors(_, mask) => {
            one_write(&mut found);
            let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
            found.extend(halves(mask).map(|half| Cut::Sectors(at, half)));
            found.extend(bits.map(|bit| Cut::Sectors(at, mask & !(1 << bit))));
        }
        Cut::Random(_, seed) => {
            one_write(&mut found);
            found.extend(trace.mask_of(at, seed).map(|mask| Cut::Sectors(at, mask)));
        }
        Cut::Lie(_, seed) => found.push(Cut::Random(at, seed)),
        Cut::Without(..) | Cut::Cached(..) => one_write(&mut found),
        Cut::Prefix(_) | Cut::Shorn(..) | Cut::Only(..) | Cut::Rot(..) => {}
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

/// Numbers below `at`: great leaps first.
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
    use crate::sim::disk::{Fault, FaultKind};
    use crate::sim::image::Image;
    use crate::sim::journal::Op;
    use crate::sim::state::{State, Witness};
    use std::sync::Arc;

    /// Twelve writes of two sectors each, flushed after every fourth; it fails if the rule says so.
    struct Made<F>(F);

    impl<F: Fn(&Case, &State) -> bool> Runs for Made<F> {
        fn trace_of(&self, _: &Case) -> Result<Trace> {
            let base = State {
                image: Image::new(1 << 20),
                vars: Arc::default(),
                witness: Witness::default(),
            };
            let mut ops = Vec::new();
            for number in 0..12_u8 {
                let at = u64::from(number) * 4096;
                ops.push(Op::Write {
                    at,
                    data: vec![number + 1; 1024].into(),
                });
                if number % 4 == 3 {
                    ops.push(Op::Flush);
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

    fn reduced(runs: &impl Runs, case: Case) -> Result<String> {
        assert!(runs.fails(&case)?.is_some(), "{case} fails to begin with");
        let (case, words) = reduce(runs, case, "wrong".to_owned())?;
        assert_eq!(runs.fails(&case)?, Some(words), "what is told fails");
        Ok(case.to_string())
    }

    #[test]
    fn of_a_random_subset_the_one_sector_is_left_that_matters() -> Result<()> {
        let sector_of_sixth = |_: &Case, state: &State| state.image.is(5 * 4096 + 512, &[6; 512]);
        let runs = Made(|case: &Case, state: &State| {
            // Everything in order is well; the sixth write before the fifth is not.
            sector_of_sixth(case, state) && !state.image.is(4 * 4096, &[5; 512])
        });
        let seed = (0..).find(|seed| {
            let cut = Cut::Random(9, *seed);
            runs.fails(&Case::of(&[cut]))
                .is_ok_and(|found| found.is_some())
        });
        let cuts = [Cut::Prefix(7), Cut::Random(9, seed.unwrap_or_default())];
        assert_eq!(reduced(&runs, Case::of(&cuts))?, " --cut only:7:1");
        Ok(())
    }

    #[test]
    fn a_cut_moves_to_the_first_place_that_fails() -> Result<()> {
        let runs = Made(|_: &Case, state: &State| state.image.is(2 * 4096, &[3; 512]));
        assert_eq!(
            reduced(&runs, Case::of(&[Cut::Shorn(11, 1)]))?,
            " --cut prefix:3:0"
        );
        Ok(())
    }

    #[test]
    fn one_mishap_is_left_of_many() -> Result<()> {
        let runs =
            Made(|case: &Case, _: &State| case.mishap.is_some_and(|mishap| mishap.at() >= 5));
        let fault = Fault {
            at: 90,
            kind: FaultKind::Lost,
            forever: true,
        };
        let case = Case {
            mishap: Some(Mishap::Write(fault)),
            cuts: vec![Cut::Prefix(3), Cut::Lie(9, 4)],
        };
        assert_eq!(reduced(&runs, case)?, " --mishap write:5:lost");
        Ok(())
    }
}
