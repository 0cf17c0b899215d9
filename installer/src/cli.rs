//! The command line of `rayos-installer`.

use crate::repair_esp::RepairEsp;
use anyhow::{Context as _, Result, bail};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs};
use clap::{Args, Parser, Subcommand};
use cli::input::refuse_input_as_output;
use cli::new_file::NewFile;
use installer::answers::{Answers, Then};
use installer::ending::{self, CONFIRMATION, NOTHING_TO_DO};
use installer::host::{block_on, jobs, now, random_guid, restart};
use installer::install::{Job, Others, install};
use installer::layout::{Layout, Size};
use installer::marker::Marker;
use installer::media::{Content, stick_len, write_stick};
use installer::report::PlanReport;
use installer::unattended::{self, Surroundings, survey};
use installer::{choose, disks, safety};
use record::{Guid, Text64};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use updater::apply::Report;
use updater::source::{AnySource, HttpOptions, Location};
use updater::terminal::{ProgressStyle, Terminal};

/// Installs RayOS: creates the slots, then applies the first bundle to one of them.
///
/// Without a verb it shows a plan for a made-up machine, and touches nothing.
#[derive(Parser)]
#[command(name = "rayos-installer", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Subcommand)]
enum Verb {
    Plan(Plan),
    Apply(Apply),
    Image(Image),
    Media(Media),
    RepairEsp(RepairEsp),
}

/// Show as JSON which disk would be installed to and how it would be divided; nothing is written
#[derive(Args)]
struct Plan {
    /// Look at this machine's disks; without it, at a made-up machine
    #[arg(long)]
    enumerate_local_disks: bool,
    /// Answers file; docs/install.example.toml has every key
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Into free space, beside other systems, whose partitions stay as they are
    #[arg(long)]
    beside: bool,
}

/// Install to a disk of this machine, as an answers file says
#[derive(Args)]
struct Apply {
    /// Answers file; docs/install.example.toml has every key
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// Bundle: a file or a URL; instead of the one that the answers name
    #[arg(long)]
    bundle: Option<Location>,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// Into free space, beside other systems, whose partitions stay as they are
    #[arg(long)]
    beside: bool,
    /// The recovery keys of BitLocker volumes beside which it is installed are at hand
    #[arg(long, requires = "beside")]
    recovery_key_at_hand: bool,
    /// Erase this disk: its serial number, or its name where it has none; with --beside, only RayOS
    /// on it
    #[arg(long, value_name = "ID")]
    erase: Option<String>,
    /// Accept older releases than the installation before on this disk did; else its floor is kept
    #[arg(long)]
    forget_floor: bool,
    /// Go ahead without an answers file that says `unattended = true`
    #[arg(long)]
    yes: bool,
}

/// Make a disk image with the release installed, by the same procedure
#[derive(Args)]
struct Image {
    /// Bundle: a file, - for standard input, or a URL
    #[arg(long)]
    bundle: Location,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Size of the disk
    #[arg(long)]
    size: Size,
    /// Bytes in a sector
    #[arg(long, default_value_t = 512, value_parser = sector_size)]
    sector_size: u32,
    /// Layout (TOML) instead of the default one
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// What the machine accepts; without it, the first name that the release is compatible with
    #[arg(long, value_name = "NAME")]
    compatible: Option<String>,
    /// Directory in efivarfs format, to write boot entries to
    #[arg(long, value_name = "DIR")]
    efivars: Option<PathBuf>,
    /// Identity of the installation; without it, a random one
    #[arg(long, value_name = "GUID")]
    install_id: Option<String>,
    /// The image; a sparse file
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

/// Make an installation stick, or its file system alone
#[derive(Args)]
struct Media {
    /// Bundle; its recovery and guard images go onto the stick too
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Answers file to put onto the stick
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Only the file system, as an ISO image wants it
    #[arg(long)]
    esp_only: bool,
    /// The image
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.verb.unwrap_or(Verb::Plan(self.plan)) {
            Verb::Plan(plan) => plan.run(),
            Verb::Apply(apply) => apply.run(),
            Verb::Image(image) => image.run(),
            Verb::Media(media) => media.run(),
            Verb::RepairEsp(repair) => match repair.run() {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::from(NOTHING_TO_DO),
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let code = exit_code(&error);
                drop(writeln!(std::io::stderr(), "rayos-installer: {error:#}"));
                Marker::Failed(code).emit();
                ExitCode::from(code)
            }
        }
    }
}

impl Plan {
    fn run(&self) -> Result<()> {
        Marker::Started.emit();
        let mut answers = match &self.answers {
            Some(path) => read_answers(path)?,
            None => Answers::parse("version = 1")?,
        };
        answers.beside |= self.beside;
        let sample = !self.enumerate_local_disks;
        let candidates = if sample {
            Marker::SampleMode.emit();
            let stick = ["sda".to_owned()];
            let look = |_: &disks::Disk| Some(safety::Look::blank());
            choose::candidates(disks::sample(), &answers.wanted(&stick), look)
        } else {
            Marker::RealMode.emit();
            survey(&answers, &disks::Roots::default(), &[])?
        };
        let report = PlanReport::new(candidates, &answers.target, sample);
        Marker::PlanGenerated.emit();
        output_line(&serde_json::to_string_pretty(&report)?)?;
        Marker::JsonEmitted.emit();
        Marker::Complete.emit();
        Ok(())
    }
}

impl Apply {
    fn run(&self) -> Result<()> {
        Marker::Started.emit();
        Marker::RealMode.emit();
        let mut answers = read_answers(&self.answers)?;
        if self.erase.is_some() {
            answers.erase.clone_from(&self.erase);
        }
        answers.forget_floor |= self.forget_floor;
        answers.beside |= self.beside;
        answers.recovery_key_at_hand |= self.recovery_key_at_hand;
        if !answers.unattended && !self.yes {
            bail!(Unconfirmed);
        }
        let trust = bundle::trust::load(&self.trust)?;
        let named = answers
            .bundle
            .clone()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .transpose()?;
        let bundle = self
            .bundle
            .clone()
            .or(named)
            .context("no bundle: name one with --bundle")?;
        let compatible = answers
            .compatible
            .as_deref()
            .context("answers: no compatible")?;
        let vars = Efivarfs::new(Path::new(EFIVARS_DIR));
        let around = Surroundings {
            roots: disks::Roots::default(),
            media: Vec::new(),
            bundle,
            trust: &trust,
            compatible: text64(compatible)?,
            install_id: random_guid()?,
            vars: Some(&vars as &dyn EfiVars),
            now: now(),
            jobs: jobs(),
            medium: None,
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(unattended::run(&answers, &around, &terminal, |disk| {
            Marker::WriteStarted(disk).emit();
        }))??;
        terminal.done();
        finish(&report);
        match answers.then {
            Then::Nothing => Ok(()),
            Then::Reboot => Ok(restart(false)?),
            Then::PowerOff => Ok(restart(true)?),
        }
    }
}

impl Image {
    fn run(&self) -> Result<()> {
        Marker::Started.emit();
        let trust = bundle::trust::load(&self.trust)?;
        let layout = match &self.layout {
            Some(path) => {
                toml::from_str(&read_text(path)?).with_context(|| path.display().to_string())?
            }
            None => Layout::default(),
        };
        let id = self
            .install_id
            .as_deref()
            .map(|text| Guid::parse(text).context("--install-id: expected a GUID"));
        let install_id = id.transpose()?.map_or_else(random_guid, Ok)?;
        let source = AnySource::new(&self.bundle, HttpOptions::default())?;
        let name = || self.out.display().to_string();
        if self.out.exists() {
            bail!("{}: exists already", self.out.display());
        }
        let new = NewFile::create(&self.out).with_context(name)?;
        new.file.set_len(self.size.0).with_context(name)?;
        let report = self.install(source, &new.open_path(), &trust, &layout, install_id)?;
        new.publish().with_context(name)?;
        finish(&report);
        Ok(())
    }

    fn install(
        &self,
        source: AnySource,
        path: &Path,
        trust: &seal::Trust,
        layout: &Layout,
        id: Guid,
    ) -> Result<Report> {
        let device = Arc::new(FileDevice::open(
            path,
            Access::Write,
            SectorSize::Bytes(self.sector_size),
        )?);
        let vars = self.efivars.as_deref().map(Efivarfs::new);
        let job = Job {
            device,
            layout,
            install_id: id,
            compatible: self.compatible.as_deref().map(text64).transpose()?,
            trust,
            vars: vars.as_ref().map(|vars| vars as &dyn EfiVars),
            jobs: jobs(),
            now: now(),
            others: Others::default(),
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(install(source, &job, &terminal))??;
        terminal.done();
        Ok(report)
    }
}

impl Media {
    fn run(&self) -> Result<()> {
        Marker::Started.emit();
        let trust = bundle::trust::load(&self.trust)?;
        let answers = match &self.answers {
            Some(path) => {
                // As it is read from the stick: without a byte order mark.
                read_answers(path)?;
                Some(read_text(path)?.into_bytes())
            }
            None => None,
        };
        let inputs = [&self.bundle, &self.trust].into_iter().chain(&self.answers);
        refuse_input_as_output(&self.out, inputs.map(PathBuf::as_path))?;
        let name = || self.out.display().to_string();
        let images = block_on(installer::media::images(&self.bundle, &trust))??;
        let content = Content {
            guard: &images.guard,
            recovery: &images.recovery,
            answers: answers.as_deref(),
            bundle: &self.bundle,
        };
        let esp_len = content.esp_len()?;
        let len = if self.esp_only {
            esp_len
        } else {
            stick_len(esp_len)
        };
        let new = NewFile::create(&self.out).with_context(name)?;
        new.file.set_len(len).with_context(name)?;
        let device = FileDevice::open(&new.open_path(), Access::Write, SectorSize::Bytes(512))?;
        if self.esp_only {
            content.write_esp(&device, 0, esp_len)?;
        } else {
            write_stick(&device, &content, images.id)?;
        }
        drop(device);
        new.publish().with_context(name)?;
        Marker::Complete.emit();
        Ok(())
    }
}

/// Nobody said that it may be done.
#[derive(Debug, thiserror::Error)]
#[error("nothing is written unless the answers say `unattended = true`, or --yes is given")]
struct Unconfirmed;

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Unconfirmed>() {
        CONFIRMATION
    } else {
        ending::exit_code(error.chain())
    }
}

fn finish(report: &Report) {
    Marker::Activated(&report.version).emit();
    let slot = report.slot.to_ascii_uppercase();
    // It is installed, whether or not anyone can be shown that.
    let shown = cli::output::print(&format!(
        "Installed {} to slot {slot}: it is tried on the next boot ({} tries) and commits when it is healthy.",
        report.version, report.tries
    ));
    if let Err(error) = shown {
        cli::output::note(&format!("rayos-installer: standard output: {error}"));
    }
    Marker::Complete.emit();
}

fn read_answers(path: &Path) -> Result<Answers> {
    let name = || path.display().to_string();
    let found = std::fs::read(path).with_context(name)?;
    Answers::decode(&found).with_context(name)
}

fn read_text(path: &Path) -> Result<String> {
    cli::input::read_text(path).with_context(|| path.display().to_string())
}

fn text64(text: &str) -> Result<Text64> {
    Text64::new(text)
        .with_context(|| format!("compatible {text:?}: expected up to 64 printable characters"))
}

fn sector_size(text: &str) -> Result<u32, &'static str> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("expected 512 or 4096"),
    }
}

pub(crate) fn output_line(text: &str) -> Result<()> {
    Ok(cli::output::print(text)?)
}
