//! The command line of `rayos-updater`.

use crate::words::Words;
use anyhow::{Context as _, Result, bail};
use bootctl::device::Access;
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs};
use bootctl::machine::MachineError;
use bootctl::sysfs::BlockDevices;
use clap::{Args, Parser, Subcommand};
use record::Choice;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use updater::apply::{ApplyError, Failure, Incoming, Machine, Options, Outcome};
use updater::events::{Event, EventSink};
use updater::fetch::Retries;
use updater::source::{AnySource, HttpOptions, Location};
use updater::terminal::{ProgressStyle, Terminal};

/// Everything went as asked.
const DONE: u8 = 0;
/// It failed; the machine is as it was.
const FAILED: u8 = 1;
/// Signature, hash or compatibility refused; the machine is as it was.
const REFUSED: u8 = 3;
/// The disk is busy or unsuitable.
const UNSUITABLE: u8 = 5;
/// There was nothing to do.
const NOTHING_TO_DO: u8 = 7;
/// It failed, and the target slot holds no release now; the booted one is untouched.
const SLOT_INVALID: u8 = 8;
/// It was stopped by a signal and can be resumed.
const INTERRUPTED: u8 = 130;

/// Where no EFI variables are: an image of another machine's disk.
const NO_EFIVARS: &str = "/nonexistent";

/// Streams a signed release into the slot that is not running.
#[derive(Parser)]
#[command(name = "rayos-updater", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Apply(Apply),
}

/// Apply a bundle to the slot that is not running; the next boot tries it
#[derive(Args)]
struct Apply {
    /// A file, - for standard input, or a URL (http or https)
    bundle: Location,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    #[command(flatten)]
    machine: MachineArgs,
    /// Show what would be done, and stop
    #[arg(long)]
    plan: bool,
    /// Do not read the slot back from the medium: quicker, but a disk that lies is found out by the boot guard
    #[arg(long)]
    no_read_back: bool,
    /// Fetch everything that is not in its place, without looking for it in the other slot
    #[arg(long)]
    no_adaptive: bool,
    /// Threads that decompress, hash and write; each takes a few chunks of memory
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Trust only these certificates (PEM) for https
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// How to show progress on standard error
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "HOW")]
    progress: ProgressStyle,
}

/// Which machine: the running one, or a disk.
#[derive(Args)]
struct MachineArgs {
    /// Work on this disk or disk image instead of the running machine's disk
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// With --disk: the slot to be taken as running (none: neither is)
    #[arg(long, value_name = "SLOT", requires = "disk")]
    booted: Option<Choice>,
    /// With --disk: a directory in efivarfs format, to keep boot entries in
    #[arg(long, value_name = "DIR", requires = "disk")]
    efivars: Option<PathBuf>,
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        let Verb::Apply(apply) = self.verb;
        let json = apply.json;
        match apply.run() {
            Ok(outcome) => {
                Words::outcome(&outcome, json);
                ExitCode::from(match outcome {
                    Outcome::UpToDate(_) => NOTHING_TO_DO,
                    Outcome::Planned(..) | Outcome::Activated(_) => DONE,
                })
            }
            Err(error) => {
                let code = exit_code(&error);
                Words::failure(&error, code, json);
                ExitCode::from(code)
            }
        }
    }
}

impl Apply {
    fn run(self) -> Result<Outcome> {
        let trust = bundle::trust::load(&self.trust)?;
        let ca_pem = match &self.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let source = AnySource::new(&self.bundle, HttpOptions { ca_pem })?;
        let opened = self.machine.open()?;
        let now = now();
        let offline = self.machine.disk.is_some() && self.machine.efivars.is_none();
        let machine = Machine {
            vars: (!offline).then_some(opened.vars.as_ref()),
            booted: self.machine.booted.or(opened.booted()).unwrap_or(Choice::Recovery),
            disk: opened.disk,
            store: opened.store,
            now,
        };
        let jobs = self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let options = Options {
            trust: &trust,
            place_guard: None,
            tries: record::TRIAL_TRIES,
            read_back: !self.no_read_back,
            adaptive: !self.no_adaptive,
            jobs,
            retries: Retries { seed: u64::from(std::process::id()) ^ now, ..Retries::default() },
            plan_only: self.plan,
        };
        let terminal = Terminal::new(self.progress);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(jobs.max(2)).enable_all().build()?;
        let outcome = runtime.block_on(async {
            let on_retry =
                |error: &updater::source::SourceError, pause| terminal.event(Event::retry(error, pause));
            let work = async {
                let incoming = Incoming::open(source, &trust, options.retries, &on_retry).await?;
                incoming.apply(&machine, &options, &terminal).await
            };
            tokio::select! {
                outcome = work => Some(outcome),
                () = signal() => None,
            }
        });
        terminal.done();
        // A worker may be in the middle of a write; what it finishes is verified, what it does not is found missing.
        runtime.shutdown_background();
        match outcome {
            Some(outcome) => Ok(outcome?),
            None => bail!(Interrupted),
        }
    }
}

/// A signal ended the work.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal")]
struct Interrupted;

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl MachineArgs {
    /// The running machine, or the one on the disk.
    fn open(&self) -> Result<bootctl::machine::Machine, MachineError> {
        let efivars = |dir: &Path| Box::new(Efivarfs::new(dir)) as Box<dyn EfiVars>;
        match &self.disk {
            Some(path) => {
                let dir = self.efivars.as_deref().unwrap_or(Path::new(NO_EFIVARS));
                bootctl::machine::Machine::open(path, efivars(dir), Access::Write)
            }
            None => {
                let vars = efivars(Path::new(EFIVARS_DIR));
                bootctl::machine::Machine::running(vars, &BlockDevices::default(), Access::Write)
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    match error.downcast_ref::<Failure>() {
        Some(Failure { disarmed: Some(_), .. }) => SLOT_INVALID,
        Some(Failure { error: ApplyError::Refused(_) | ApplyError::Bundle(_), .. }) => REFUSED,
        Some(_) => FAILED,
        None if error.is::<MachineError>() => UNSUITABLE,
        None if error.is::<bundle::trust::TrustFileError>() => REFUSED,
        None => FAILED,
    }
}
