//! A run, and the machine after each of its power cuts.

use super::PowerCut;
use crate::sim::hardware::history::History;
use crate::sim::hardware::layout::Region;
use crate::sim::hardware::operation::Operation;
use crate::sim::hardware::state::MachineState;
use fixtures::dice::Dice;
use std::collections::BTreeMap;

/// The operations of a run, with the state after each.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(super) ops: Vec<Operation>,
    /// One more than the number of operations.
    states: Vec<MachineState>,
    pub(super) sector: usize,
}

/// The random sequence that selects sectors before operation `at`. *Pure.*
const fn dice(at: usize, seed: u64) -> Dice {
    Dice::new(seed ^ ((at as u64) << 20))
}

impl Trace {
    /// Returns the trace of `ops` on a machine in state `base`. *Pure.*
    #[must_use]
    pub fn new(base: MachineState, ops: Vec<Operation>, sector_size: u32) -> Self {
        let mut states = vec![base];
        for op in &ops {
            let mut next = states[states.len() - 1].clone();
            next.apply(op);
            states.push(next);
        }
        Self {
            ops,
            states,
            sector: sector_size as usize,
        }
    }

    /// Number of operations.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ops.len()
    }

    /// True if there are no operations.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operation with this number.
    #[must_use]
    pub fn operation(&self, at: usize) -> Option<&Operation> {
        self.ops.get(at)
    }

    /// The machine after so many operations.
    #[must_use]
    pub fn after(&self, ops: usize) -> &MachineState {
        &self.states[ops.min(self.ops.len())]
    }

    /// Numbers of the unflushed writes before operation `at`.
    pub(crate) fn pending(&self, at: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.writes_since(at, 1)
    }

    /// Numbers of the writes since the `flushes`-th last flush before operation `at`.
    fn writes_since(
        &self,
        at: usize,
        flushes: usize,
    ) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let flushed = (0..at)
            .rev()
            .filter(|index| matches!(self.ops[*index], Operation::Flush))
            .nth(flushes - 1);
        let from = flushed.map_or(0, |index| index + 1);
        (from..at).filter(|index| matches!(self.ops[*index], Operation::Write { .. }))
    }

    /// The sectors of these writes in order: offset on the disk and bytes.
    pub(super) fn sectors_of(&self, writes: impl Iterator<Item = usize>) -> Vec<(u64, &[u8])> {
        let mut sectors = Vec::new();
        for index in writes {
            if let Operation::Write { at, data } = &self.ops[index] {
                sectors.extend((*at..).step_by(self.sector).zip(data.chunks(self.sector)));
            }
        }
        sectors
    }

    /// The last content of each sector written since the last flush before operation `at`.
    pub(super) fn merged_sectors(&self, at: usize) -> BTreeMap<u64, &[u8]> {
        self.sectors_of(self.pending(at)).into_iter().collect()
    }

    /// Returns the machine after `cut`. *Pure.*
    #[must_use]
    pub fn state(&self, cut: PowerCut) -> MachineState {
        match cut {
            PowerCut::Prefix(at) => self.after(at).clone(),
            PowerCut::Head(at, bytes) => self.torn(at, |data, state, offset| {
                state.write(offset, &data[..bytes.min(data.len())]);
            }),
            PowerCut::Tail(at, bytes) => self.torn(at, |data, state, offset| {
                let from = data.len() - bytes.min(data.len());
                state.write(offset + from as u64, &data[from..]);
            }),
            PowerCut::Garbled(at, sector) => self.torn(at, |data, state, offset| {
                let mut shorn = data.to_vec();
                let end = shorn.len();
                let range = (sector * self.sector).min(end)..((sector + 1) * self.sector).min(end);
                shorn[range].fill(0xff);
                state.write(offset, &shorn);
            }),
            PowerCut::Sectors(at, mask) => {
                let kept = self.sectors_of(self.pending(at)).into_iter().enumerate();
                self.with(
                    at,
                    1,
                    kept.filter(|(bit, _)| mask >> bit & 1 == 1)
                        .map(|(_, piece)| piece),
                )
            }
            PowerCut::Only(at, write) => {
                self.with(at, 1, self.sectors_of(self.pending(at).skip(write).take(1)))
            }
            PowerCut::Without(at, write) => {
                let others = self
                    .pending(at)
                    .enumerate()
                    .filter(|(number, _)| *number != write);
                self.with(at, 1, self.sectors_of(others.map(|(_, index)| index)))
            }
            PowerCut::Last(at, count) => {
                let all = self.pending(at).count();
                self.with(
                    at,
                    1,
                    self.sectors_of(self.pending(at).skip(all.saturating_sub(count))),
                )
            }
            PowerCut::Random(at, seed) => self.chosen(at, 1, seed),
            PowerCut::Cached(at, seed) => {
                let mut dice = self::dice(at, seed);
                self.with(
                    at,
                    1,
                    self.merged_sectors(at)
                        .into_iter()
                        .filter(|_| dice.roll() & 1 == 1),
                )
            }
            PowerCut::LostFlush(at, seed) => self.chosen(at, 3, seed),
            PowerCut::BitFlip(at, seed) => {
                let mut state = self.after(at).clone();
                flip_bit(&mut state, seed ^ ((at as u64) << 32));
                state
            }
        }
    }

    fn torn(&self, at: usize, keep: impl FnOnce(&[u8], &mut MachineState, u64)) -> MachineState {
        let mut state = self.after(at).clone();
        if let Some(Operation::Write { at: offset, data }) = self.ops.get(at) {
            keep(data, &mut state, *offset);
        }
        state
    }

    /// The mask of [`PowerCut::Sectors`] for the sectors that [`PowerCut::Random`] keeps; `None` if
    /// there are more than 64.
    pub(crate) fn mask_of(&self, at: usize, seed: u64) -> Option<u64> {
        let mut dice = self::dice(at, seed);
        let sectors = self.sectors_of(self.pending(at)).len();
        let kept = (0..sectors).map(|bit| (dice.roll() & 1) << bit);
        (sectors <= 64).then(|| kept.fold(0, |mask, bit| mask | bit))
    }

    fn chosen(&self, at: usize, flushes: usize, seed: u64) -> MachineState {
        let mut dice = self::dice(at, seed);
        let sectors = self.sectors_of(self.writes_since(at, flushes));
        self.with(
            at,
            flushes,
            sectors.into_iter().filter(|_| dice.roll() & 1 == 1),
        )
    }

    /// The machine with the sectors `kept` of those written since the `flushes`-th last flush, and
    /// with the variables before operation `at`.
    fn with<'a>(
        &'a self,
        at: usize,
        flushes: usize,
        kept: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> MachineState {
        let at = at.min(self.ops.len());
        let base = self.writes_since(at, flushes).next().unwrap_or(at);
        let mut state = self.after(base).clone();
        for (offset, bytes) in kept {
            state.write(offset, bytes);
        }
        let now = self.after(at);
        state.vars = now.vars.clone();
        // The history does not depend on what the disk has lost.
        let History {
            recovery,
            failing,
            stick,
            ..
        } = now.history;
        for slot in 0..2 {
            if state.history.launches[slot] == self.after(base).history.launches[slot] {
                state.history.launches[slot] = now.history.launches[slot];
                state.history.healthy[slot] = now.history.healthy[slot];
            }
        }
        state.history = History {
            recovery,
            failing,
            stick,
            ..state.history
        };
        state
    }
}

/// Flips a random bit in a range that our programs use.
fn flip_bit(state: &mut MachineState, seed: u64) {
    use record::Slot;
    let mut dice = Dice::new(seed);
    let len = state.image.len();
    let ranges = [
        (0, 40 * 4096),
        (len - 40 * 4096, 40 * 4096),
        (Region::State.start(), 4096),
        (Region::State.start() + 1020 * 1024, 4096),
        (Region::State.start() + 64 * 1024, 16 * 4096),
        (Region::Boot(Slot::A).start(), 17_097),
        (Region::Boot(Slot::B).start(), 17_097),
        (Region::Root(Slot::A).start(), 30_003),
        (Region::Root(Slot::B).start(), 30_003),
        (Region::Recovery.start(), 13_103),
        (Region::Esp.start(), 64 * 1024),
    ];
    let (start, len) = ranges[dice.below(ranges.len() as u64) as usize];
    let at = start + dice.below(len);
    let mut byte = state.image.bytes(at, 1);
    byte[0] ^= 1 << dice.below(8);
    state.image.write(at, &byte);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::hardware::image::Image;
    use crate::sim::power_cut::{CutClass, CutCoverage};
    use std::sync::Arc;

    fn trace() -> Trace {
        let base = MachineState {
            image: Image::new(1 << 20),
            vars: Arc::default(),
            history: History::default(),
        };
        let write = |at, byte: u8| Operation::Write {
            at,
            data: vec![byte; 1024].into(),
        };
        let ops = vec![
            write(0, 1),
            Operation::Flush,
            write(4096, 2),
            write(8192, 3),
            Operation::Flush,
        ];
        Trace::new(base, ops, 512)
    }

    const HOW: CutCoverage = CutCoverage {
        all_subsets: 4,
        random: 2,
        tears: 2,
        faulty: 1,
        seed: 7,
    };

    #[test]
    fn a_power_cut_survives_its_text_form() {
        for cut in trace().cuts(&HOW) {
            assert_eq!(cut.to_string().parse(), Ok(cut));
        }
        assert!("prefix:1".parse::<PowerCut>().is_err());
    }

    #[test]
    fn every_subset_of_the_unflushed_sectors_occurs_and_flushed_sectors_stay() {
        let trace = trace();
        let mut seen = std::collections::BTreeSet::new();
        for cut in trace.cuts(&HOW) {
            if matches!(cut.class(), CutClass::Faulty) {
                continue;
            }
            let state = trace.state(cut);
            let whole = |at: u64, byte: u8| state.image.equals(at, &[byte; 512]);
            let later =
                [(4096, 2), (4608, 2), (8192, 3), (8704, 3)].map(|(at, byte)| whole(at, byte));
            if later.contains(&true) {
                assert!(whole(0, 1) && whole(512, 1), "{cut} loses a flushed sector");
                seen.insert(later);
            }
        }
        assert_eq!(
            seen.len(),
            15,
            "all subsets of four sectors but the empty one"
        );
    }

    #[test]
    fn a_cache_merges_writes_to_one_sector() {
        let base = MachineState {
            image: Image::new(1 << 20),
            vars: Arc::default(),
            history: History::default(),
        };
        let write = |byte: u8| Operation::Write {
            at: 0,
            data: vec![byte; 8 * 512].into(),
        };
        let trace = Trace::new(base, vec![write(1), write(2), Operation::Flush], 512);
        let cuts = trace.cuts(&CutCoverage { random: 20, ..HOW });
        let cached: Vec<PowerCut> = cuts
            .into_iter()
            .filter(|cut| matches!(cut, PowerCut::Cached(..)))
            .collect();
        assert_eq!(cached.len(), 20);
        for cut in cached {
            let first = trace.state(cut).image.bytes(0, 8 * 512);
            assert!(
                first
                    .chunks(512)
                    .all(|sector| sector[0] == 0 || sector[0] == 2),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_garbled_sector_does_not_change_its_neighbour() {
        let state = trace().state(PowerCut::Garbled(2, 1));
        assert!(state.image.equals(4096, &[2; 512]) && state.image.equals(4608, &[0xff; 512]));
    }
}
