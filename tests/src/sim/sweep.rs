//! Everything that goes wrong besides the power: each write, read and request of a scenario, in
//! each way.

use super::cut::Cut;
use super::disk::{Fault, FaultKind, ReadFault};
use super::firmware::Demand;
use super::journal::Op;
use super::matrix::Explorer;
use super::network::{NetFault, NetFaultKind};
use super::oracle::Reader;
use super::place::Place;
use super::reduce::{Case, Runs as _};
use super::state::State;
use super::trouble::Mishap;
use super::world::Life;

/// Of the reads that fail, one in so many is followed by no other that succeeds: a disk that goes
/// away.
const GOES_AWAY_EVERY: usize = 4;
/// Of the runs with a bad network, one in so many is cut off at each operation, too.
const CUT_EVERY: usize = 5;
/// Writes to variables after which the store is full.
const ROOM: usize = 8;

impl Explorer<'_> {
    /// Lets the machine live with `mishap`; a disk or store is mended then, and the machine
    /// switched on again.
    pub(super) fn mishap(&self, mishap: Mishap) -> anyhow::Result<(Life, Option<String>)> {
        let case = Case {
            mishap: Some(mishap),
            cuts: Vec::new(),
        };
        let by_network = matches!(mishap, Mishap::Network(_));
        let demand = if by_network {
            Demand::Everything
        } else {
            Demand::Safety
        };
        let start = self.trace.after(0);
        let life = self
            .world(start, &self.scenario.trouble().with(mishap), demand)?
            .live();
        if by_network {
            let violation = self.verdict(&life, &case);
            return Ok((life, violation));
        }
        // With such a disk or store it may never come to rest.
        let violation = life
            .violation
            .clone()
            .filter(|words| !words.starts_with("still restless"));
        let data = match mishap {
            // What goes astray may go anywhere.
            Mishap::Write(Fault {
                kind: FaultKind::Misdirected,
                ..
            }) => None,
            _ => self
                .data_changed(start, &life.state)
                .or_else(|| self.other_changed(&life.state)),
        };
        let (mended, later) = self.live_on(&life.state, &case)?;
        Ok((mended, violation.or(data).or(later)))
    }

    fn data_changed(&self, before: &State, after: &State) -> Option<String> {
        let data = |state: &State| state.image.hash_of(Place::Data.start()..Place::Data.end());
        let changed = !self.scenario.installs() && data(before) != data(after);
        changed.then(|| "the user's data were written to".to_owned())
    }

    fn other_changed(&self, after: &State) -> Option<String> {
        let other = self
            .lab
            .other(self.sector_size)
            .filter(|_| after.witness.other)?;
        other
            .check_disk(&Reader {
                image: &after.image,
                sector: other.sector(),
            })
            .err()
    }

    fn try_mishap(&mut self, mishap: Mishap) -> anyhow::Result<()> {
        let (_, violation) = self.mishap(mishap)?;
        self.told(
            Case {
                mishap: Some(mishap),
                cuts: Vec::new(),
            },
            violation,
        )
    }

    /// Lets each write and flush of the disk fail in each way, once and from then on, and each
    /// write to the variables.
    ///
    /// # Errors
    /// As [`super::scenario::Lab::live_on`].
    pub(super) fn writes_fail(&mut self) -> anyhow::Result<()> {
        let operations = (0..self.trace.len())
            .filter(|at| {
                matches!(
                    self.trace.operation(*at),
                    Some(Op::Write { .. } | Op::Flush)
                )
            })
            .count();
        let each = |at| {
            FaultKind::ALL.into_iter().flat_map(move |kind| {
                [false, true].map(|forever| Mishap::Write(Fault { at, kind, forever }))
            })
        };
        let full = (0..ROOM).map(Mishap::Full);
        for mishap in (0..operations).flat_map(each).chain(full) {
            self.counts.faults += 1;
            self.try_mishap(mishap)?;
        }
        Ok(())
    }

    /// Lets each read of the disk fail, by the guard and by the system, and some and all that
    /// follow.
    ///
    /// # Errors
    /// As [`super::scenario::Lab::live_on`].
    pub(super) fn reads_fail(&mut self) -> anyhow::Result<()> {
        for at in 0..self.reads {
            let both = [true, at % GOES_AWAY_EVERY == 0];
            for forever in both
                .into_iter()
                .zip([false, true])
                .filter_map(|(is, forever)| is.then_some(forever))
            {
                self.counts.reads += 1;
                self.try_mishap(Mishap::Read(ReadFault { at, forever }))?;
            }
        }
        Ok(())
    }

    /// Lets each request go wrong in each way; the machine must come to the same end by itself.
    /// Some of these runs are cut off at each operation.
    ///
    /// # Errors
    /// As [`super::scenario::Lab::live_on`].
    pub(super) fn requests_fail(&mut self) -> anyhow::Result<()> {
        let each = |at| NetFaultKind::ALL.map(|kind| Mishap::Network(NetFault { at, kind }));
        for (mishap, number) in (0..self.requests).flat_map(each).zip(0..) {
            self.counts.requests += 1;
            self.try_mishap(mishap)?;
            if number % CUT_EVERY > 0 {
                continue;
            }
            let case = Case {
                mishap: Some(mishap),
                cuts: Vec::new(),
            };
            let trace = self.trace_of(&case)?;
            for at in 0..=trace.len() {
                self.counts.requests += 1;
                let cut = Case {
                    cuts: vec![Cut::Prefix(at)],
                    ..case.clone()
                };
                let (_, violation) = self.live_on(&trace.state(Cut::Prefix(at)), &cut)?;
                self.told(cut, violation)?;
            }
        }
        Ok(())
    }
}
