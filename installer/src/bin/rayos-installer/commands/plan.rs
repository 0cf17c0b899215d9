//! `rayos-installer plan`.

use super::files::read_answers;
use crate::args::Plan;
use crate::output::emit;
use anyhow::Result;
use cli::ExitStatus;
use installer::disk::choose::{Candidate, candidates};
use installer::disk::disks::{Disk, Roots, sample};
use installer::disk::plan_report::PlanReport;
use installer::disk::safety::Look;
use installer::install::answers::Answers;
use installer::install::unattended::survey;
use installer::progress_markers::Marker;

impl Plan {
    /// Prints the plan as JSON; writes nothing to a disk.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&Marker::Started);
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
        emit(&Marker::PlanGenerated);
        cli::output::print(&serde_json::to_string_pretty(&report)?)?;
        emit(&Marker::JsonEmitted);
        emit(&Marker::Complete);
        Ok(ExitStatus::Success)
    }

    /// Returns the disks of this machine, or those of the sample machine.
    fn candidates(&self, answers: &Answers) -> Result<Vec<Candidate>> {
        if self.enumerate_local_disks {
            emit(&Marker::RealMode);
            return Ok(survey(answers, &Roots::default(), &[])?);
        }
        emit(&Marker::SampleMode);
        let stick = ["sda".to_owned()];
        let blank = |_: &Disk| Some(Look::blank());
        Ok(candidates(sample(), &answers.wanted(&stick), blank))
    }
}
