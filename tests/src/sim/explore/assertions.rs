//! The assertions about a run after power cuts and faults.

use super::Explorer;
use super::minimize::Case;
use crate::sim::fault::Fault;
use crate::sim::hardware::disk::{WriteFault, WriteFaultKind};
use crate::sim::machine::firmware::Assertions;
use crate::sim::machine::{FinalState, RunResult};
use crate::sim::power_cut::CutClass;

impl Explorer<'_> {
    /// The violation of a run after `case`.
    pub(super) fn violation_of(&self, run: &RunResult, case: &Case) -> Option<String> {
        if let Some(words) = run
            .violation
            .as_ref()
            .filter(|words| !self.is_lost_table(words, case))
        {
            return Some(words.clone());
        }
        if let Some(words) = self.other_system_written(run, case) {
            return Some(words);
        }
        match case.assertions() {
            Assertions::All
                if run.final_state != self.expected
                    && !self.is_accepted(&run.final_state, case) =>
            {
                Some(format!(
                    "ends with {:?}, expected {:?}",
                    run.final_state, self.expected
                ))
            }
            // An interrupted installation may leave a disk that cannot be started.
            Assertions::SafetyOnly
                if run.final_state.running.is_none() && !self.scenario.installs() =>
            {
                Some("nothing can be started".to_owned())
            }
            Assertions::All | Assertions::SafetyOnly => None,
        }
    }

    /// A disk that loses flushes can lose both copies of the partition table: then an installation
    /// beside another system is impossible.
    fn is_lost_table(&self, words: &str, case: &Case) -> bool {
        let faulty = case.cuts.iter().any(|cut| cut.class() == CutClass::Faulty);
        faulty && self.scenario.installs() && words.contains("it has no GPT to install beside")
    }

    /// The partitions of another system are never written, unless the disk misdirects a write.
    fn other_system_written(&self, run: &RunResult, case: &Case) -> Option<String> {
        let misdirected = matches!(
            case.fault,
            Some(Fault::Write(WriteFault {
                kind: WriteFaultKind::Misdirected,
                ..
            }))
        );
        let other = self
            .simulator
            .other(self.sector_size)
            .filter(|_| run.state.history.other && !misdirected)?;
        other.check_content(&run.state.image).err()
    }

    fn is_accepted(&self, state: &FinalState, case: &Case) -> bool {
        self.scenario
            .accepted
            .iter()
            .any(|(cuts, accepted)| case.cuts.len() >= *cuts && state == accepted)
    }
}
