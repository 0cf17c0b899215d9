//! `rayos-recovery`: on the stick it installs, in the recovery partition it tells how the machine
//! stands.

use anyhow::{Context as _, Result, bail};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EFIVARS_DIR, EfiVars as _, Efivarfs, VarName};
use bootctl::machine::Machine;
use bootctl::secure_boot::SecureBoot;
use bootctl::system::{SYSTEM_FILE, System};
use clap::Parser;
use installer::answers::{Answers, Then};
use installer::disks::Roots;
use installer::ending::exit_code;
use installer::esp;
use installer::guards::Guard;
use installer::host::{block_on, jobs, now, random_guid, restart};
use installer::marker::Marker;
use installer::unattended::{Surroundings, run, survey};
use record::{Guid, HANDOFF_LEN, Handoff};
use recovery::medium::{Medium, MediumError};
use recovery::onward;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use updater::source::Location;
use updater::terminal::{ProgressStyle, Terminal};

/// How often a medium is looked for: the stick that the firmware read may still be new to the
/// kernel.
const MEDIUM_LOOKS: u32 = 100;
/// Pause between two looks.
const MEDIUM_PAUSE: Duration = Duration::from_millis(200);

/// The recovery system's own program: installs from the stick, or tells how the machine stands.
#[derive(Parser)]
#[command(name = "rayos-recovery", version, about, max_term_width = 100)]
struct Cli {
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// What this system says of itself
    #[arg(long, default_value = SYSTEM_FILE, value_name = "FILE")]
    system: PathBuf,
    /// Where to mount the medium
    #[arg(long, default_value = "/run/media", value_name = "DIR")]
    mount: PathBuf,
    /// Start what is installed on this machine's disk, though the medium is still there
    #[arg(long)]
    start_installed: bool,
}

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("rayos-recovery: {error:#}"));
            let code = exit_code(error.chain());
            Marker::Failed(code).emit();
            ExitCode::from(code)
        }
    }
}

impl Cli {
    fn run(&self) -> Result<()> {
        let vars = Efivarfs::new(Path::new(EFIVARS_DIR));
        let name = VarName {
            name: Handoff::VARIABLE.to_owned(),
            vendor: record::VENDOR,
        };
        let handoff = vars
            .get(&name)?
            .and_then(|variable| Handoff::decode(&variable.data));
        let Some(handoff) = handoff else {
            bail!(
                "the boot guard did not start this system: variable {} of {HANDOFF_LEN} bytes is missing",
                name.name
            )
        };
        if handoff.state_uuid != Guid::ZERO {
            return self.on_disk();
        }
        let medium = self.find_medium()?;
        if self.start_installed {
            let answers = medium
                .answers()?
                .map_or_else(|| Answers::parse("version = 1"), Ok)?;
            let candidates = survey(
                &answers,
                &Roots::default(),
                std::slice::from_ref(&medium.disk),
            )?;
            let disk =
                onward::installed(&candidates).context("not one disk holds an installation")?;
            let bundle = medium.bundle(answers.bundle.as_deref());
            self.mend_guard(&disk.disk.path, bundle, &vars);
            return start_installed(&disk.disk.path, Then::Reboot);
        }
        match medium.answers()? {
            Some(answers) if answers.unattended => self.install(&medium, &answers, &vars),
            answers => show_disks(&answers.unwrap_or(Answers::parse("version = 1")?), &medium),
        }
    }

    /// Started from the recovery partition: the state in words, and what can be done.
    fn on_disk(&self) -> Result<()> {
        say(
            "This is the recovery system. `rayos-bootctl status` and `rayos-bootctl why` tell how the machine",
        );
        say("stands; `rayos-updater apply BUNDLE` installs a release anew, from a file or a URL.");
        // What the firmware kept of a panic is told by `why`, too.
        for verb in ["collect-panics", "status"] {
            std::process::Command::new("rayos-bootctl")
                .arg(verb)
                .status()
                .context("rayos-bootctl")?;
        }
        Ok(())
    }

    /// Makes the EFI system partition of an installed disk anew if there is no file system left on
    /// it: no firmware starts that disk, which may be why the medium was put in. Less than that is
    /// a matter of `rayos-installer repair-esp`, and no reason to write unasked.
    fn mend_guard(&self, path: &Path, bundle: Result<String, MediumError>, vars: &Efivarfs) {
        let mend = || -> Result<bool> {
            let disk = Disk::open(Arc::new(FileDevice::open(
                path,
                Access::Write,
                SectorSize::Detect,
            )?))?;
            if esp::look(&disk.esp()?)? != esp::Content::Nothing {
                return Ok(false);
            }
            say(&format!(
                "{} has lost its boot guard: the EFI system partition is made anew.",
                path.display()
            ));
            let trust = bundle::trust::load(&self.trust)?;
            let images = block_on(installer::media::images(Path::new(&bundle?), &trust))??;
            let guard = Guard {
                program: &images.guard,
                rollback_index: images.rollback_index,
            };
            guard.mend(&disk, SecureBoot::is_on(vars), false)?;
            Ok(true)
        };
        match mend() {
            Ok(true) => say("The boot guard is in its places again."),
            Ok(false) => {}
            Err(error) => say(&format!(
                "rayos-recovery: the boot guard was not put back: {error:#}"
            )),
        }
    }

    fn find_medium(&self) -> Result<Medium> {
        for _ in 0..MEDIUM_LOOKS {
            if let Some(medium) = Medium::find(&Roots::default(), &self.mount)? {
                return Ok(medium);
            }
            std::thread::sleep(MEDIUM_PAUSE);
        }
        bail!("the medium that this system was started from is not to be found")
    }

    fn install(&self, medium: &Medium, answers: &Answers, vars: &Efivarfs) -> Result<()> {
        Marker::Started.emit();
        Marker::RealMode.emit();
        let trust = bundle::trust::load(&self.trust)?;
        let system = System::load(&self.system)?;
        let bundle: Location = medium
            .bundle(answers.bundle.as_deref())?
            .parse()
            .map_err(anyhow::Error::msg)?;
        let media = vec![medium.disk.clone()];
        let candidates = survey(answers, &Roots::default(), &media)?;
        let mark = medium.mark(&bundle)?;
        if let Some((disk, why)) =
            onward::instead(&candidates, &answers.target, mark, onward::mark_of)
        {
            say(&why);
            self.mend_guard(
                &disk.disk.path,
                medium.bundle(answers.bundle.as_deref()),
                vars,
            );
            return start_installed(&disk.disk.path, answers.then);
        }
        let around = Surroundings {
            roots: Roots::default(),
            media,
            bundle,
            trust: &trust,
            compatible: system.compatible(),
            install_id: random_guid()?,
            vars: Some(vars),
            now: now(),
            jobs: jobs(),
            medium: Some(mark),
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(run(answers, &around, &terminal, |disk| {
            Marker::WriteStarted(disk).emit()
        }));
        terminal.done();
        let report = report??;
        Marker::Activated(&report.version).emit();
        say(&format!(
            "Installed {}. The next boot, without the stick, tries it.",
            report.version
        ));
        Marker::Complete.emit();
        match answers.then {
            Then::Nothing => Ok(()),
            Then::Reboot => Ok(restart(false)?),
            Then::PowerOff => Ok(restart(true)?),
        }
    }
}

/// Starts what is installed on `disk`, by way of a restart.
fn start_installed(disk: &Path, then: Then) -> Result<()> {
    if then != Then::Reboot {
        say(&format!(
            "{} holds an installation: nothing was changed.",
            disk.display()
        ));
        return if then == Then::PowerOff {
            Ok(restart(true)?)
        } else {
            Ok(())
        };
    }
    let vars = Box::new(Efivarfs::new(Path::new(EFIVARS_DIR)));
    let machine = Machine::open(disk, vars, Access::Write)?;
    let choice = onward::prepare(&machine, now()).with_context(|| {
        format!(
            "{} holds an installation, which is not started",
            disk.display()
        )
    })?;
    drop(machine);
    say(&format!(
        "Starting {choice} of {}, which is installed already.",
        disk.display()
    ));
    Marker::AlreadyInstalled(disk).emit();
    Ok(restart(false)?)
}

fn show_disks(answers: &Answers, medium: &Medium) -> Result<()> {
    say("This is the RayOS installation medium. Nothing was changed. The disks of this machine:");
    let candidates = survey(
        answers,
        &Roots::default(),
        std::slice::from_ref(&medium.disk),
    )?;
    for candidate in &candidates {
        let disk = &candidate.disk;
        let gib = disk.size as f64 / f64::from(1 << 30);
        let model = disk.model.as_deref().unwrap_or("unknown model");
        say(&format!(
            "  {} ({}, {model}, {gib:.1} GiB)",
            disk.path.display(),
            disk.id()
        ));
        for problem in &candidate.problems {
            say(&format!("      {problem}"));
        }
    }
    if onward::installed(&candidates).is_some() {
        say("To start what is installed: rayos-recovery --start-installed");
    }
    say(
        "To install without questions, put install.toml with `unattended = true` beside the bundle;",
    );
    say("with `beside = true` in it, a system that is on the disk already stays.");
    Ok(())
}

fn say(text: &str) {
    // Nothing can be told to somebody who has closed the line.
    drop(std::io::stdout().write_all(format!("{text}\n").as_bytes()));
}
