//! `rayos-installer apply`.

use super::files::{compatible, read_answers};
use crate::args::Apply;
use crate::exit_code::{PlanChanged, Unconfirmed};
use crate::output::{emit, finish};
use anyhow::{Context as _, Result, bail};
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs};
use cli::ExitStatus;
use installer::disk::disk_facts::DiskFacts;
use installer::disk::disks::Roots;
use installer::disk::plan_report::PlanReport;
use installer::disk::plan_text::plan_text;
use installer::host::{block_on, jobs, random_guid, restart};
use installer::install::answers::{Answers, Then};
use installer::install::unattended::{self, Environment};
use installer::interactive::confirm::{confirmation, is_confirmed};
use installer::progress_markers::ProgressMarker;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;
use updater::source::Location;
use updater::terminal::{ProgressStyle, Terminal};

/// Maximum number of bytes of a typed reply.
const MAX_REPLY: u64 = 256;

impl Apply {
    /// Installs to a disk of this machine.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        emit(&ProgressMarker::RealMode);
        let answers = self.answers()?;
        self.confirm(&answers)?;
        let trust = bundle::trust::load(&self.trust)?;
        let named = answers
            .compatible
            .as_deref()
            .context("answers: no compatible")?;
        let vars = Efivarfs::new(Path::new(EFIVARS_DIR));
        let environment = Environment {
            roots: Roots::default(),
            media_disks: Vec::new(),
            bundle: self.bundle(&answers)?,
            trust: &trust,
            compatible: compatible(named)?,
            install_id: random_guid()?,
            vars: Some(&vars as &dyn EfiVars),
            now: cli::clock::now(),
            jobs: jobs(),
            fingerprint: None,
            may_forget_floor: self.yes || self.forget_floor,
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(unattended::run(&answers, &environment, &terminal, |disk| {
            emit(&ProgressMarker::WriteStarted(disk));
        }))??;
        terminal.finish();
        finish(&report);
        match answers.then {
            Then::Nothing => {}
            Then::Reboot => restart(false)?,
            Then::PowerOff => restart(true)?,
        }
        Ok(ExitStatus::Success)
    }

    /// Checks that the operator wants this installation: by the hash of the plan, by the answers, by
    /// an option, or by typing part of the disk's name.
    fn confirm(&self, answers: &Answers) -> Result<()> {
        if self.plan_hash.is_none() && (answers.unattended || self.yes) {
            return Ok(());
        }
        let facts = DiskFacts::read_all(&Roots::default())?;
        let candidates = DiskFacts::assess(&facts, &answers.disk_request(&[]));
        let report = PlanReport::new(candidates, &answers.target, false);
        if let Some(expected) = &self.plan_hash {
            let found = report.hash.or(report.reason).unwrap_or_default();
            return if found.eq_ignore_ascii_case(expected) {
                Ok(())
            } else {
                let expected = expected.clone();
                Err(PlanChanged { found, expected }.into())
            };
        }
        if !std::io::stdin().is_terminal() {
            bail!(Unconfirmed);
        }
        ask(&report, &facts)
    }

    /// Returns the answers file with the options of the command line applied.
    fn answers(&self) -> Result<Answers> {
        let mut answers = read_answers(&self.answers)?;
        if self.erase.is_some() {
            answers.erase.clone_from(&self.erase);
        }
        answers.forget_floor |= self.forget_floor;
        answers.beside |= self.beside;
        answers.recovery_key_at_hand |= self.recovery_key_at_hand;
        Ok(answers)
    }

    /// Returns the bundle that the command line names, or that the answers name.
    fn bundle(&self, answers: &Answers) -> Result<Location> {
        if let Some(bundle) = &self.bundle {
            return Ok(bundle.clone());
        }
        let name = answers.bundle.as_deref();
        let name = name.context("no bundle: name one with --bundle")?;
        name.parse().map_err(anyhow::Error::msg)
    }
}

/// Shows the plan, and asks for part of the name of the disk.
fn ask(report: &PlanReport, facts: &[DiskFacts]) -> Result<()> {
    let chosen = facts
        .iter()
        .find(|it| Some(&it.disk.path) == report.target.as_ref());
    let Some(chosen) = chosen else {
        bail!(
            "{}",
            report.reason.as_deref().unwrap_or("no disk is chosen")
        );
    };
    cli::output::print(&plan_text(report, facts))?;
    let disks: Vec<_> = facts.iter().map(|it| it.disk.clone()).collect();
    let word = confirmation(&chosen.disk, &disks);
    cli::output::print(&format!(
        "To write this plan to {}, type {word}, the end of its id, and press Enter:",
        chosen.disk.path.display()
    ))?;
    let mut typed = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_REPLY)
        .read_line(&mut typed)?;
    if is_confirmed(&typed, &word) {
        Ok(())
    } else {
        bail!(Unconfirmed);
    }
}
