//! `rayos-installer plan`.

use super::files::read_answers;
use crate::args::Plan;
use crate::output::emit;
use anyhow::Result;
use cli::ExitStatus;
use installer::disk::choose::{Candidate, candidates};
use installer::disk::disks::{Disk, Roots, sample};
use installer::disk::plan_report::PlanReport;
use installer::disk::safety::DiskFindings;
use installer::install::answers::Answers;
use installer::install::unattended::assess_disks;
use installer::progress_markers::ProgressMarker;

impl Plan {
    /// Prints the plan as JSON; writes nothing to a disk.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        let mut answers = match &self.answers {
            Some(path) => read_answers(path)?,
            None => Answers::parse("version = 1")?,
        };
        answers.beside |= self.beside;
        let report = PlanReport::new(
            self.candidates(&answers)?,
            &answers.target,
            !self.enumerate_local_disks,
        );
        emit(&ProgressMarker::PlanGenerated);
        cli::output::print(&serde_json::to_string_pretty(&report)?)?;
        emit(&ProgressMarker::JsonEmitted);
        emit(&ProgressMarker::Complete);
        Ok(ExitStatus::Success)
    }

    /// Returns the disks of this machine, or those of the sample machine.
    fn candidates(&self, answers: &Answers) -> Result<Vec<Candidate>> {
        if self.enumerate_local_disks {
            emit(&ProgressMarker::RealMode);
            return Ok(assess_disks(answers, &Roots::default(), &[])?);
        }
        emit(&ProgressMarker::SampleMode);
        let stick = ["sda".to_owned()];
        let blank = |_: &Disk| Ok(DiskFindings::blank());
        Ok(candidates(sample(), &answers.disk_request(&stick), blank))
    }
}
