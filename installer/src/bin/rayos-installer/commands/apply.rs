//! `rayos-installer apply`.

use super::files::{compatible, read_answers};
use crate::args::Apply;
use crate::exit_code::Unconfirmed;
use crate::output::{emit, finish};
use anyhow::{Context as _, Result, bail};
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs};
use cli::ExitStatus;
use installer::disk::disks::Roots;
use installer::host::{block_on, jobs, random_guid, restart};
use installer::install::answers::{Answers, Then};
use installer::install::unattended::{self, Environment};
use installer::progress_markers::ProgressMarker;
use std::path::Path;
use updater::source::Location;
use updater::terminal::{ProgressStyle, Terminal};

impl Apply {
    /// Installs to a disk of this machine.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        emit(&ProgressMarker::RealMode);
        let answers = self.answers()?;
        if !answers.unattended && !self.yes {
            bail!(Unconfirmed);
        }
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
