//! All power cuts of a trace, or a random selection where there are too many.

use super::PowerCut;
use super::trace::Trace;
use crate::sim::hardware::operation::Operation;
use fixtures::dice::Dice;

/// How many power cuts of each kind are taken where there are too many for all.
#[derive(Clone, Copy, Debug)]
pub struct CutCoverage {
    /// Maximum number of unflushed sectors of which every subset is taken.
    pub all_subsets: u32,
    /// Number of random subsets of more sectors.
    pub random: u64,
    /// Number of random positions in a write of more than eight sectors.
    pub tears: usize,
    /// Number of lost flushes and of flipped bits for each operation.
    pub faulty: u64,
    /// Seed of the random choices.
    pub seed: u64,
}

impl Trace {
    /// Returns the power cuts of this trace, in the order of its operations. *Pure.*
    #[must_use]
    pub fn cuts(&self, coverage: &CutCoverage) -> Vec<PowerCut> {
        let mut cuts = vec![PowerCut::Prefix(0)];
        for (at, op) in self.ops.iter().enumerate() {
            if let Operation::Write { data, .. } = op {
                self.tears(at, data.len(), coverage, &mut cuts);
            } else if self.pending(at).next().is_some() {
                self.subsets(at, coverage, &mut cuts);
            }
            cuts.push(PowerCut::Prefix(at + 1));
            for number in 0..coverage.faulty {
                let seed = coverage.seed.wrapping_mul(31).wrapping_add(number);
                cuts.extend([
                    PowerCut::LostFlush(at + 1, seed),
                    PowerCut::BitFlip(at + 1, seed),
                ]);
            }
        }
        cuts
    }

    /// Power cuts in the middle of a write.
    fn tears(&self, at: usize, len: usize, coverage: &CutCoverage, cuts: &mut Vec<PowerCut>) {
        let sectors = len.div_ceil(self.sector);
        let inside: Vec<usize> = if sectors <= 8 {
            (1..sectors).collect()
        } else {
            let mut dice = Dice::new(coverage.seed ^ at as u64);
            let chosen = (0..coverage.tears).map(|_| 1 + dice.below(sectors as u64 - 1) as usize);
            let mut chosen: Vec<usize> = chosen.chain([1, sectors / 2, sectors - 1]).collect();
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        for count in &inside {
            cuts.push(PowerCut::Head(at, count * self.sector));
            cuts.push(PowerCut::Tail(at, len - (sectors - count) * self.sector));
        }
        // Drives may write in smaller units than they report.
        let small = (512..len)
            .step_by(512)
            .take(if len <= 8192 { 16 } else { 0 });
        cuts.extend(
            small
                .filter(|count| count % self.sector != 0)
                .map(|count| PowerCut::Head(at, count)),
        );
        let around = inside
            .iter()
            .map(|count| count * self.sector)
            .flat_map(|edge| [edge - 1, edge + 1]);
        let bytes = around.chain([
            1,
            8,
            16,
            64,
            128,
            255,
            self.sector / 2,
            384,
            len.saturating_sub(1),
        ]);
        cuts.extend(
            bytes
                .filter(|count| (1..len).contains(count))
                .map(|count| PowerCut::Head(at, count)),
        );
        cuts.extend(
            inside
                .iter()
                .chain([&0])
                .map(|sector| PowerCut::Garbled(at, *sector)),
        );
    }

    /// Power cuts before a flush.
    fn subsets(&self, at: usize, coverage: &CutCoverage, cuts: &mut Vec<PowerCut>) {
        let writes = self.pending(at).count();
        let sectors: usize = self.sectors_of(self.pending(at)).len();
        if sectors <= coverage.all_subsets as usize {
            // All sectors and no sector are prefixes.
            cuts.extend((1..(1_u64 << sectors) - 1).map(|mask| PowerCut::Sectors(at, mask)));
            return;
        }
        if writes > 1 {
            cuts.extend((0..writes).map(|write| PowerCut::Only(at, write)));
            cuts.extend((0..writes).map(|write| PowerCut::Without(at, write)));
            cuts.extend((2..writes - 1).map(|count| PowerCut::Last(at, count)));
        }
        cuts.extend(
            (0..coverage.random)
                .map(|number| PowerCut::Random(at, coverage.seed.wrapping_add(number))),
        );
        if self.merged_sectors(at).len() < sectors {
            cuts.extend(
                (0..coverage.random)
                    .map(|number| PowerCut::Cached(at, coverage.seed.wrapping_add(number))),
            );
        }
    }
}
