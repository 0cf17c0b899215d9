//! `rayos-installer plan`.

use super::files::read_answers;
use crate::args::Plan;
use crate::output::emit;
use anyhow::Result;
use cli::ExitStatus;
use installer::disk::disk_facts::DiskFacts;
use installer::disk::disks::Roots;
use installer::disk::plan_report::PlanReport;
use installer::disk::plan_text::plan_text;
use installer::install::answers::Answers;
use installer::progress_markers::ProgressMarker;
use std::io::IsTerminal as _;

impl Plan {
    /// Prints the plan, for people on a terminal and as JSON elsewhere; writes nothing to a disk.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        let mut answers = match &self.answers {
            Some(path) => read_answers(path)?,
            None => Answers::parse("version = 1")?,
        };
        answers.beside |= self.beside;
        answers.recovery_key_at_hand |= self.recovery_key_at_hand;
        if self.erase.is_some() {
            answers.erase.clone_from(&self.erase);
        }
        let (facts, media) = self.disks()?;
        let report = PlanReport::new(
            DiskFacts::assess(&facts, &answers.disk_request(&media)),
            &answers.target,
            !self.enumerate_local_disks,
        );
        emit(&ProgressMarker::PlanGenerated);
        if self.json || (!self.text && !std::io::stdout().is_terminal()) {
            cli::output::print(&serde_json::to_string_pretty(&report)?)?;
            emit(&ProgressMarker::JsonEmitted);
        } else {
            cli::output::print(&plan_text(&report, &facts))?;
            emit(&ProgressMarker::TextPrinted);
        }
        emit(&ProgressMarker::Complete);
        Ok(ExitStatus::Success)
    }

    /// Returns the disks of this machine, or those of the sample machine and its medium.
    fn disks(&self) -> Result<(Vec<DiskFacts>, Vec<String>)> {
        if self.enumerate_local_disks {
            emit(&ProgressMarker::RealMode);
            return Ok((DiskFacts::read_all(&Roots::default())?, Vec::new()));
        }
        emit(&ProgressMarker::SampleMode);
        Ok((DiskFacts::sample(), vec!["sda".to_owned()]))
    }
}
