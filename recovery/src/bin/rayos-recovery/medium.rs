//! Started from a medium: installs, boots what is installed, or asks the operator.

use crate::args::Cli;
use crate::installed;
use crate::output::{emit, say};
use anyhow::{Context as _, Result, bail};
use bootctl::efivars::Efivarfs;
use bootctl::system::System;
use installer::disk::choose::Candidate;
use installer::disk::disks::{self, Roots};
use installer::host::{block_on, jobs, random_guid, restart};
use installer::install::answers::{Answers, Then};
use installer::install::unattended::{self, Environment, assess_disks};
use installer::progress_markers::ProgressMarker;
use recovery::boot_installed;
use recovery::medium::Medium;
use recovery::origin::Origin;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use updater::source::Location;
use updater::terminal::{ProgressStyle, Terminal};

/// Where the interactive installer leaves the path of the disk to start.
const CHOSEN: &str = "/run/rayos-chosen";
/// Where it saves the answers file: in memory, because the medium is read-only.
const SAVED: &str = "/run/install.toml";
/// Number of searches for the medium: the kernel may find a stick seconds after the firmware did.
const SEARCHES: u32 = 100;
/// Pause between two searches.
const PAUSE: Duration = Duration::from_millis(200);

/// Does what the command line and the answers on the medium ask for.
pub(crate) fn run(arguments: &Cli, vars: &Efivarfs) -> Result<()> {
    let started = Started {
        medium: find(arguments, vars)?,
        arguments,
        vars,
    };
    match started.medium.answers()? {
        answers if arguments.start_installed => started.boot_installed(&or_default(answers)?),
        Some(answers) if answers.unattended => started.install(&answers),
        answers => started.ask(answers),
    }
}

/// Finds the medium that the firmware started, and names the others, whose answers do not count.
fn find(arguments: &Cli, vars: &Efivarfs) -> Result<Medium> {
    let (origin, roots) = (Origin::read(vars)?, Roots::default());
    for _ in 0..SEARCHES {
        if let Some(medium) = Medium::find(&origin.places(&roots)?, &arguments.mount)? {
            name_others(&medium, &roots)?;
            return Ok(medium);
        }
        std::thread::sleep(PAUSE);
    }
    bail!("the installation medium was not found")
}

/// Names the removable disks other than the medium.
fn name_others(medium: &Medium, roots: &Roots) -> Result<()> {
    let others = disks::enumerate(roots)?.into_iter();
    for other in others.filter(|disk| disk.is_removable() && disk.name != medium.disk) {
        say(&format!(
            "{} ({}) was not started: answers on it are ignored.",
            other.path.display(),
            other.id()
        ));
    }
    Ok(())
}

fn or_default(answers: Option<Answers>) -> Result<Answers> {
    Ok(answers.map_or_else(|| Answers::parse("version = 1"), Ok)?)
}

/// A recovery system that was started from a medium.
struct Started<'a> {
    medium: Medium,
    arguments: &'a Cli,
    vars: &'a Efivarfs,
}

impl Started<'_> {
    fn assess_disks(&self, answers: &Answers) -> Result<Vec<Candidate>> {
        let media = std::slice::from_ref(&self.medium.disk);
        Ok(assess_disks(answers, &Roots::default(), media)?)
    }

    fn boot_installed(&self, answers: &Answers) -> Result<()> {
        let candidates = self.assess_disks(answers)?;
        let disk = boot_installed::only_installation(&candidates)
            .context("no disk, or more than one, contains an installation")?;
        self.boot(disk, answers, Then::Reboot)
    }

    fn boot(&self, disk: &Candidate, answers: &Answers, then: Then) -> Result<()> {
        let path = &disk.disk.path;
        let bundle = self.medium.bundle(answers.bundle.as_deref());
        installed::restore_guard(path, bundle, &self.arguments.trust, self.vars);
        installed::start(path, then)
    }

    fn install(&self, answers: &Answers) -> Result<()> {
        emit(&ProgressMarker::Started);
        emit(&ProgressMarker::RealMode);
        let trust = bundle::trust::load(&self.arguments.trust)?;
        let system = System::load(&self.arguments.system)?;
        answers.check_machine(system.compatible())?;
        let bundle = self.medium.bundle(answers.bundle.as_deref())?;
        let bundle: Location = bundle.parse().map_err(anyhow::Error::msg)?;
        let candidates = self.assess_disks(answers)?;
        let fingerprint = self.medium.fingerprint(&bundle)?;
        let existing = boot_installed::existing_installation(
            &candidates,
            &answers.target,
            fingerprint,
            boot_installed::read_fingerprint,
        )?;
        if let Some((disk, why)) = existing {
            say(&why);
            return self.boot(disk, answers, answers.then);
        }
        let environment = Environment {
            roots: Roots::default(),
            media_disks: vec![self.medium.disk.clone()],
            bundle,
            trust: &trust,
            compatible: system.compatible(),
            install_id: random_guid()?,
            vars: Some(self.vars),
            now: cli::clock::now(),
            jobs: jobs(),
            fingerprint: Some(fingerprint),
            may_forget_floor: false,
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(unattended::run(answers, &environment, &terminal, |disk| {
            emit(&ProgressMarker::WriteStarted(disk));
        }));
        terminal.finish();
        let version = report??.version;
        emit(&ProgressMarker::Activated(&version));
        say(&format!(
            "Installed {version}. Remove the medium: the next boot tries it."
        ));
        emit(&ProgressMarker::Complete);
        match answers.then {
            Then::Nothing => Ok(()),
            Then::Reboot => Ok(restart(false)?),
            Then::PowerOff => Ok(restart(true)?),
        }
    }

    /// Lets the operator choose, with the interactive installer; then boots what was chosen.
    fn ask(&self, answers: Option<Answers>) -> Result<()> {
        let system = System::load(&self.arguments.system)?;
        let chosen = Path::new(CHOSEN);
        remove_if_there(chosen)?;
        let mut installer = Command::new("rayos-installer");
        installer
            .arg("interactive")
            .arg("--trust")
            .arg(&self.arguments.trust);
        installer
            .arg("--compatible")
            .arg(system.compatible().to_string());
        installer.arg("--medium-disk").arg(&self.medium.disk);
        installer
            .arg("--chosen")
            .arg(chosen)
            .arg("--save")
            .arg(SAVED);
        if let Some(screen) = &self.arguments.screen {
            installer.arg("--console").arg(screen);
        }
        let named = answers.as_ref().and_then(|it| it.bundle.clone());
        if answers.is_some() {
            installer.arg("--answers").arg(self.medium.answers_path());
        }
        match self.medium.bundle(named.as_deref()) {
            Ok(bundle) => drop(installer.arg("--bundle").arg(bundle)),
            Err(error) => say(&format!("{error}: only a plan is possible.")),
        }
        let ended = installer.status().context("rayos-installer")?;
        if !ended.success() {
            bail!("rayos-installer: {ended}");
        }
        let Ok(path) = std::fs::read_to_string(chosen) else {
            return Ok(());
        };
        let answers = or_default(answers)?;
        let candidates = self.assess_disks(&answers)?;
        let disk = candidates
            .iter()
            .find(|it| it.disk.path == Path::new(&path));
        let disk = disk.with_context(|| format!("{path}: the disk is gone"))?;
        self.boot(disk, &answers, Then::Reboot)
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
