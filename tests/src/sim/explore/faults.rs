//! Runs with faults other than power cuts: each write, read and request of a scenario fails, in each
//! way.

use super::Explorer;
use crate::sim::explore::minimize::{Case, Replay as _};
use crate::sim::fault::Fault;
use crate::sim::hardware::disk::{ReadFault, WriteFault, WriteFaultKind};
use crate::sim::hardware::layout::Region;
use crate::sim::hardware::network::{RequestFault, RequestFaultKind};
use crate::sim::hardware::operation::Operation;
use crate::sim::hardware::state::MachineState;
use crate::sim::machine::RunResult;
use crate::sim::machine::firmware::Assertions;
use crate::sim::oracle::DiskReader;
use crate::sim::power_cut::PowerCut;

/// One of so many faults of reads is also persistent: a disk that disappears.
const PERSISTENT_EVERY: usize = 4;
/// One of so many runs with a fault of a request also has a power cut at each operation.
const CUT_EVERY: usize = 5;
/// Maximum number of writes after which the variable store is full.
const STORE_WRITES: usize = 8;

impl Explorer<'_> {
    /// Runs the machine with `fault`. After a fault of the disk or the store, it is removed and the
    /// machine started again.
    pub(super) fn run_with_fault(
        &self,
        fault: Fault,
    ) -> anyhow::Result<(RunResult, Option<String>)> {
        let case = Case {
            fault: Some(fault),
            cuts: Vec::new(),
        };
        let by_request = matches!(fault, Fault::Request(_));
        let assertions = if by_request {
            Assertions::All
        } else {
            Assertions::SafetyOnly
        };
        let start = self.trace.after(0);
        let run = self
            .machine(start, &self.scenario.faults().with(fault), assertions)?
            .run_until_rest();
        if by_request {
            let violation = self.violation_of(&run, &case);
            return Ok((run, violation));
        }
        // With such a disk or store it may never rest.
        let violation = run
            .violation
            .clone()
            .filter(|words| !words.starts_with("not at rest"));
        let data = match fault {
            // A misdirected write may hit anything.
            Fault::Write(WriteFault {
                kind: WriteFaultKind::Misdirected,
                ..
            }) => None,
            _ => self
                .data_changed(start, &run.state)
                .or_else(|| self.other_changed(&run.state)),
        };
        let (repaired, later) = self.run_from(&run.state, &case)?;
        Ok((repaired, violation.or(data).or(later)))
    }

    fn data_changed(&self, before: &MachineState, after: &MachineState) -> Option<String> {
        let data = |state: &MachineState| {
            state
                .image
                .hash_of(Region::Data.start()..Region::Data.end())
        };
        let changed = !self.scenario.installs() && data(before) != data(after);
        changed.then(|| "the user's data have changed".to_owned())
    }

    fn other_changed(&self, after: &MachineState) -> Option<String> {
        let other = self
            .simulator
            .other(self.sector_size)
            .filter(|_| after.history.other)?;
        other
            .check_disk(&DiskReader {
                image: &after.image,
                sector: other.sector(),
            })
            .err()
    }

    fn try_fault(&mut self, fault: Fault) -> anyhow::Result<()> {
        let (_, violation) = self.run_with_fault(fault)?;
        self.report(
            Case {
                fault: Some(fault),
                cuts: Vec::new(),
            },
            violation,
        )
    }

    /// Each write and flush of the disk fails in each way, once and persistently; and each write to
    /// the variables.
    ///
    /// # Errors
    /// As [`Explorer::run_case`].
    pub(super) fn writes_fail(&mut self) -> anyhow::Result<()> {
        let operations = (0..self.trace.len())
            .filter(|at| {
                matches!(
                    self.trace.operation(*at),
                    Some(Operation::Write { .. } | Operation::Flush)
                )
            })
            .count();
        let each = |at| {
            WriteFaultKind::ALL.into_iter().flat_map(move |kind| {
                [false, true].map(|persistent| {
                    Fault::Write(WriteFault {
                        at,
                        kind,
                        persistent,
                    })
                })
            })
        };
        let full = (0..STORE_WRITES).map(Fault::StoreFull);
        for fault in (0..operations).flat_map(each).chain(full) {
            self.counts.faults += 1;
            self.try_fault(fault)?;
        }
        Ok(())
    }

    /// Each read of the disk fails, by the guard and by the system; some of them persistently.
    ///
    /// # Errors
    /// As [`Explorer::run_case`].
    pub(super) fn reads_fail(&mut self) -> anyhow::Result<()> {
        for at in 0..self.reads {
            let both = [true, at % PERSISTENT_EVERY == 0];
            for persistent in both
                .into_iter()
                .zip([false, true])
                .filter_map(|(is, persistent)| is.then_some(persistent))
            {
                self.counts.reads += 1;
                self.try_fault(Fault::Read(ReadFault { at, persistent }))?;
            }
        }
        Ok(())
    }

    /// Each request fails in each way; the machine must come to the expected state by itself. Some of
    /// these runs also have a power cut at each operation.
    ///
    /// # Errors
    /// As [`Explorer::run_case`].
    pub(super) fn requests_fail(&mut self) -> anyhow::Result<()> {
        let each = |at| RequestFaultKind::ALL.map(|kind| Fault::Request(RequestFault { at, kind }));
        for (fault, number) in (0..self.requests).flat_map(each).zip(0..) {
            self.counts.requests += 1;
            self.try_fault(fault)?;
            if number % CUT_EVERY > 0 {
                continue;
            }
            let case = Case {
                fault: Some(fault),
                cuts: Vec::new(),
            };
            let trace = self.trace_of(&case)?;
            for at in 0..=trace.len() {
                self.counts.requests += 1;
                let cut = Case {
                    cuts: vec![PowerCut::Prefix(at)],
                    ..case.clone()
                };
                let (_, violation) = self.run_from(&trace.state(PowerCut::Prefix(at)), &cut)?;
                self.report(cut, violation)?;
            }
        }
        Ok(())
    }
}
