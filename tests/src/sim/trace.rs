//! A run that is cut off: which cuts it has, and the machine as each of them leaves it.

use super::cut::{Cut, Thoroughness};
use super::journal::Op;
use super::place::Place;
use super::state::{State, Witness};
use fixtures::dice::Dice;
use std::collections::BTreeMap;

/// A run, with the machine as it was after each operation.
#[derive(Clone, Debug)]
pub struct Trace {
    ops: Vec<Op>,
    /// One more than there are operations.
    states: Vec<State>,
    sector: usize,
}

/// The sequence that chooses sectors before operation `at`.
const fn dice(at: usize, seed: u64) -> Dice {
    Dice::new(seed ^ ((at as u64) << 20))
}

impl Trace {
    /// The run that did `ops` to a machine in state `base`.
    #[must_use]
    pub fn new(base: State, ops: Vec<Op>, sector_size: u32) -> Self {
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

    /// Whether nothing was done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// An operation.
    #[must_use]
    pub fn operation(&self, at: usize) -> Option<&Op> {
        self.ops.get(at)
    }

    /// The machine after so many operations.
    #[must_use]
    pub fn after(&self, ops: usize) -> &State {
        &self.states[ops.min(self.ops.len())]
    }

    /// All cuts of this run, in the order of its operations.
    #[must_use]
    pub fn cuts(&self, how: &Thoroughness) -> Vec<Cut> {
        let mut cuts = vec![Cut::Prefix(0)];
        for (at, op) in self.ops.iter().enumerate() {
            if let Op::Write { data, .. } = op {
                self.tears(at, data.len(), how, &mut cuts);
            } else if self.pending(at).next().is_some() {
                self.subsets(at, how, &mut cuts);
            }
            cuts.push(Cut::Prefix(at + 1));
            for number in 0..how.faulty {
                let seed = how.seed.wrapping_mul(31).wrapping_add(number);
                cuts.extend([Cut::Lie(at + 1, seed), Cut::Rot(at + 1, seed)]);
            }
        }
        cuts
    }

    fn tears(&self, at: usize, len: usize, how: &Thoroughness, cuts: &mut Vec<Cut>) {
        let sectors = len.div_ceil(self.sector);
        let inside: Vec<usize> = if sectors <= 8 {
            (1..sectors).collect()
        } else {
            let mut dice = Dice::new(how.seed ^ at as u64);
            let chosen = (0..how.tears).map(|_| 1 + dice.below(sectors as u64 - 1) as usize);
            let mut chosen: Vec<usize> = chosen.chain([1, sectors / 2, sectors - 1]).collect();
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        for count in &inside {
            cuts.push(Cut::Head(at, count * self.sector));
            cuts.push(Cut::Tail(at, len - (sectors - count) * self.sector));
        }
        // Drives may write in smaller units than they say.
        let small = (512..len)
            .step_by(512)
            .take(if len <= 8192 { 16 } else { 0 });
        cuts.extend(
            small
                .filter(|count| count % self.sector != 0)
                .map(|count| Cut::Head(at, count)),
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
                .map(|count| Cut::Head(at, count)),
        );
        cuts.extend(
            inside
                .iter()
                .chain([&0])
                .map(|sector| Cut::Shorn(at, *sector)),
        );
    }

    /// Indices of the writes before operation `at` that no flush has made durable.
    pub(super) fn pending(&self, at: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.writes_since(at, 1)
    }

    /// Indices of the writes since the `flushes`-th last flush before operation `at`.
    fn writes_since(
        &self,
        at: usize,
        flushes: usize,
    ) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let flushed = (0..at)
            .rev()
            .filter(|index| matches!(self.ops[*index], Op::Flush))
            .nth(flushes - 1);
        let from = flushed.map_or(0, |index| index + 1);
        (from..at).filter(|index| matches!(self.ops[*index], Op::Write { .. }))
    }

    fn subsets(&self, at: usize, how: &Thoroughness, cuts: &mut Vec<Cut>) {
        let writes = self.pending(at).count();
        let sectors: usize = self.pieces(self.pending(at)).len();
        if sectors <= how.all_subsets as usize {
            // All and none are prefixes.
            cuts.extend((1..(1_u64 << sectors) - 1).map(|mask| Cut::Sectors(at, mask)));
            return;
        }
        if writes > 1 {
            cuts.extend((0..writes).map(|write| Cut::Only(at, write)));
            cuts.extend((0..writes).map(|write| Cut::Without(at, write)));
            cuts.extend((2..writes - 1).map(|count| Cut::Last(at, count)));
        }
        cuts.extend((0..how.random).map(|number| Cut::Random(at, how.seed.wrapping_add(number))));
        if self.last_pieces(at).len() < sectors {
            cuts.extend(
                (0..how.random).map(|number| Cut::Cached(at, how.seed.wrapping_add(number))),
            );
        }
    }

    /// The sectors of these writes, in order: place on the disk and bytes.
    fn pieces(&self, writes: impl Iterator<Item = usize>) -> Vec<(u64, &[u8])> {
        let mut pieces = Vec::new();
        for index in writes {
            if let Op::Write { at, data } = &self.ops[index] {
                pieces.extend((*at..).step_by(self.sector).zip(data.chunks(self.sector)));
            }
        }
        pieces
    }

    /// What was written last to each sector since the last flush before operation `at`.
    fn last_pieces(&self, at: usize) -> BTreeMap<u64, &[u8]> {
        self.pieces(self.pending(at)).into_iter().collect()
    }

    /// The machine as `cut` leaves it.
    #[must_use]
    pub fn state(&self, cut: Cut) -> State {
        match cut {
            Cut::Prefix(at) => self.after(at).clone(),
            Cut::Head(at, bytes) => self.torn(at, |data, state, place| {
                state.write(place, &data[..bytes.min(data.len())]);
            }),
            Cut::Tail(at, bytes) => self.torn(at, |data, state, place| {
                let from = data.len() - bytes.min(data.len());
                state.write(place + from as u64, &data[from..]);
            }),
            Cut::Shorn(at, sector) => self.torn(at, |data, state, place| {
                let mut shorn = data.to_vec();
                let end = shorn.len();
                let range = (sector * self.sector).min(end)..((sector + 1) * self.sector).min(end);
                shorn[range].fill(0xff);
                state.write(place, &shorn);
            }),
            Cut::Sectors(at, mask) => {
                let kept = self.pieces(self.pending(at)).into_iter().enumerate();
                self.with(
                    at,
                    1,
                    kept.filter(|(bit, _)| mask >> bit & 1 == 1)
                        .map(|(_, piece)| piece),
                )
            }
            Cut::Only(at, write) => {
                self.with(at, 1, self.pieces(self.pending(at).skip(write).take(1)))
            }
            Cut::Without(at, write) => {
                let others = self
                    .pending(at)
                    .enumerate()
                    .filter(|(number, _)| *number != write);
                self.with(at, 1, self.pieces(others.map(|(_, index)| index)))
            }
            Cut::Last(at, count) => {
                let all = self.pending(at).count();
                self.with(
                    at,
                    1,
                    self.pieces(self.pending(at).skip(all.saturating_sub(count))),
                )
            }
            Cut::Random(at, seed) => self.chosen(at, 1, seed),
            Cut::Cached(at, seed) => {
                let mut dice = self::dice(at, seed);
                self.with(
                    at,
                    1,
                    self.last_pieces(at)
                        .into_iter()
                        .filter(|_| dice.roll() & 1 == 1),
                )
            }
            Cut::Lie(at, seed) => self.chosen(at, 3, seed),
            Cut::Rot(at, seed) => {
                let mut state = self.after(at).clone();
                rot(&mut state, seed ^ ((at as u64) << 32));
                state
            }
        }
    }

    fn torn(&self, at: usize, keep: impl FnOnce(&[u8], &mut State, u64)) -> State {
        let mut state = self.after(at).clone();
        if let Some(Op::Write { at: place, data }) = self.ops.get(at) {
            keep(data, &mut state, *place);
        }
        state
    }

    /// The sectors that [`Cut::Random`] keeps, as [`Cut::Sectors`] names them; `None` if there are
    /// too many.
    pub(super) fn mask_of(&self, at: usize, seed: u64) -> Option<u64> {
        let mut dice = self::dice(at, seed);
        let sectors = self.pieces(self.pending(at)).len();
        let kept = (0..sectors).map(|bit| (dice.roll() & 1) << bit);
        (sectors <= 64).then(|| kept.fold(0, |mask, bit| mask | bit))
    }

    fn chosen(&self, at: usize, flushes: usize, seed: u64) -> State {
        let mut dice = self::dice(at, seed);
        let pieces = self.pieces(self.writes_since(at, flushes));
        self.with(
            at,
            flushes,
            pieces.into_iter().filter(|_| dice.roll() & 1 == 1),
        )
    }

    /// The machine with these of the bytes that were written since the `flushes`-th last flush, and
    /// all variables as they were before operation `at`.
    fn with<'a>(
        &'a self,
        at: usize,
        flushes: usize,
        kept: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> State {
        let at = at.min(self.ops.len());
        let base = self.writes_since(at, flushes).next().unwrap_or(at);
        let mut state = self.after(base).clone();
        for (place, bytes) in kept {
            state.write(place, bytes);
        }
        let now = self.after(at);
        state.vars = now.vars.clone();
        // What was seen stays seen, whatever the disk has forgotten of it.
        let Witness {
            recovery,
            worn,
            stick,
            ..
        } = now.witness;
        for slot in 0..2 {
            if state.witness.launches[slot] == self.after(base).witness.launches[slot] {
                state.witness.launches[slot] = now.witness.launches[slot];
                state.witness.proven[slot] = now.witness.proven[slot];
            }
        }
        state.witness = Witness {
            recovery,
            worn,
            stick,
            ..state.witness
        };
        state
    }
}

/// Flips a bit where something of ours may lie.
fn rot(state: &mut State, seed: u64) {
    use record::Slot;
    let mut dice = Dice::new(seed);
    let len = state.image.len();
    let places = [
        (0, 40 * 4096),
        (len - 40 * 4096, 40 * 4096),
        (Place::State.start(), 4096),
        (Place::State.start() + 1020 * 1024, 4096),
        (Place::State.start() + 64 * 1024, 16 * 4096),
        (Place::Boot(Slot::A).start(), 17_097),
        (Place::Boot(Slot::B).start(), 17_097),
        (Place::Root(Slot::A).start(), 30_003),
        (Place::Root(Slot::B).start(), 30_003),
        (Place::Recovery.start(), 13_103),
        (Place::Esp.start(), 64 * 1024),
    ];
    let (start, len) = places[dice.below(places.len() as u64) as usize];
    let at = start + dice.below(len);
    let mut byte = state.image.bytes(at, 1);
    byte[0] ^= 1 << dice.below(8);
    state.image.write(at, &byte);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::cut::Class;
    use crate::sim::image::Image;
    use std::sync::Arc;

    fn trace() -> Trace {
        let base = State {
            image: Image::new(1 << 20),
            vars: Arc::default(),
            witness: Witness::default(),
        };
        let write = |at, byte: u8| Op::Write {
            at,
            data: vec![byte; 1024].into(),
        };
        let ops = vec![
            write(0, 1),
            Op::Flush,
            write(4096, 2),
            write(8192, 3),
            Op::Flush,
        ];
        Trace::new(base, ops, 512)
    }

    const HOW: Thoroughness = Thoroughness {
        all_subsets: 4,
        random: 2,
        tears: 2,
        faulty: 1,
        seed: 7,
    };

    #[test]
    fn a_cut_is_written_and_read() {
        for cut in trace().cuts(&HOW) {
            assert_eq!(cut.to_string().parse(), Ok(cut));
        }
        assert!("prefix:1".parse::<Cut>().is_err());
    }

    #[test]
    fn every_subset_of_the_sectors_since_the_last_flush_is_reached_and_nothing_before_it_is_lost() {
        let trace = trace();
        let mut seen = std::collections::BTreeSet::new();
        for cut in trace.cuts(&HOW) {
            if matches!(cut.class(), Class::Faulty) {
                continue;
            }
            let state = trace.state(cut);
            let whole = |at: u64, byte: u8| state.image.is(at, &[byte; 512]);
            let later =
                [(4096, 2), (4608, 2), (8192, 3), (8704, 3)].map(|(at, byte)| whole(at, byte));
            if later.contains(&true) {
                assert!(whole(0, 1) && whole(512, 1), "{cut} loses what was flushed");
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
    fn a_cache_puts_writes_to_one_place_together() {
        let base = State {
            image: Image::new(1 << 20),
            vars: Arc::default(),
            witness: Witness::default(),
        };
        let write = |byte: u8| Op::Write {
            at: 0,
            data: vec![byte; 8 * 512].into(),
        };
        let trace = Trace::new(base, vec![write(1), write(2), Op::Flush], 512);
        let cuts = trace.cuts(&Thoroughness { random: 20, ..HOW });
        let cached: Vec<Cut> = cuts
            .into_iter()
            .filter(|cut| matches!(cut, Cut::Cached(..)))
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
    fn a_shorn_sector_is_garbage_and_its_neighbour_is_not() {
        let state = trace().state(Cut::Shorn(2, 1));
        assert!(state.image.is(4096, &[2; 512]) && state.image.is(4608, &[0xff; 512]));
    }
}
