//! What each verb of `rayos-bootctl` does: open the machine, call the library, print.

use crate::args::{
    Booted, Cli, Commit, Corruption, Entries, Generate, Generated, Health, Milestone, Place, Root,
    Stage, Telling, Verb,
};
use crate::output::{self, print};
use bootctl::collect::{CollectError, collect};
use bootctl::device::{Access, FileDevice, OpenError, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EFIVARS_DIR, EfiVars, Efivarfs, NoVars, VarError};
use bootctl::health::{self, Outcome, Plan};
use bootctl::machine::{Change, Machine, MachineError, handoff};
use bootctl::reconcile::{self, BootVars, Report};
use bootctl::status::{FailureJson, Status, choice_word, why_word};
use bootctl::store::StoreError;
use bootctl::sysfs::{BlockDevices, FindError};
use bootctl::system::System;
use bootctl::transition::Refusal;
use bootctl::verified_root::{self, RootError};
use bootctl::watch::{self, Told, WATCH_FILE};
use clap::CommandFactory as _;
use devmapper::OnCorruption;
use record::event::Kind;
use record::{Choice, Slot};
use seal::TrustError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) const NOTHING_TO_DO: u8 = 7;

/// Why a verb did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("trust: {0}")]
    Trust(#[from] TrustError),
    #[error("boot record is lost: rebuilding it needs --trust FILE")]
    NeedsTrust,
    #[error("boot record is lost, and no slot holds a sealed release: {0}")]
    NoEvidence(String),
    #[error("boot record: compatible is {found}, not {wanted}: what a machine is does not change")]
    OtherCompatible { found: String, wanted: String },
    #[error("recovery is running: it has no root partition")]
    NoRoot,
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("boot entries: {0}")]
    Variables(VarError),
    #[error("boot entries: {0}")]
    Entries(reconcile::Warning),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    #[error("json: {0}")]
    Json(#[from] serde_json::Error),
    #[error("reboot: {0}")]
    Reboot(rustix::io::Errno),
}

impl Failure {
    /// The exit code, as documented in `--help`.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Machine(MachineError::NotGuarded) => 77,
            Self::Machine(MachineError::Find(_) | MachineError::Open(OpenError::Busy(_))) => 5,
            Self::Machine(MachineError::Refused(Refusal::BelowFloor { .. })) => 3,
            Self::Machine(MachineError::Refused(_)) => 5,
            Self::NoEvidence(_) | Self::Trust(_) => 3,
            Self::NeedsTrust => 77,
            Self::NoRoot | Self::OtherCompatible { .. } => 5,
            _ => 1,
        })
    }
}

pub(crate) type Done = Result<ExitCode, Failure>;

/// Does what the command line asks for.
pub(crate) fn run(cli: &Cli) -> Done {
    let place = &cli.place;
    match &cli.verb {
        Verb::Status(options) => status(place, options.json),
        Verb::Why(told) => why(place, told),
        Verb::Booted(options) => booted(place, options),
        Verb::Root(options) => root(place, options),
        Verb::Milestone(options) => milestone(place, options),
        Verb::Health(options) => check_health(place, options),
        Verb::CollectPanics(options) => collect_panics(place, &options.pstore),
        Verb::Commit(options) => commit(&machine(place, Access::Record)?, options),
        Verb::Rollback => changed(&machine(place, Access::Write)?.rollback(now())?),
        Verb::BootOnce { choice } => {
            changed(&machine(place, Access::Write)?.boot_once(*choice, now())?)
        }
        Verb::MarkBad { slot } => changed(&machine(place, Access::Write)?.mark_bad(*slot, now())?),
        Verb::Entries(options) => entries(place, options),
        Verb::Repair(options) => crate::repair::repair(place, options),
        Verb::Log(told) => log(place, told),
        Verb::Generate(options) => generate(options),
    }
}

/// Seconds since 1970, 0 for a clock that stands before that.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn variables(place: &Place) -> Box<dyn EfiVars> {
    match (&place.efivars, &place.disk) {
        (Some(dir), _) => Box::new(Efivarfs::new(dir)),
        (None, None) => Box::new(Efivarfs::new(Path::new(EFIVARS_DIR))),
        (None, Some(_)) => Box::new(NoVars),
    }
}

pub(crate) fn machine(place: &Place, access: Access) -> Result<Machine, Failure> {
    let vars = variables(place);
    Ok(match &place.disk {
        Some(disk) => Machine::open(disk, vars, access)?,
        None => Machine::running(vars, &BlockDevices::default(), access)?,
    })
}

fn status(place: &Place, json: bool) -> Done {
    let machine = machine(place, Access::Read)?;
    let mut status = machine.status();
    let is_verified = machine
        .handoff
        .is_some_and(|handoff| handoff.verified_root.is_some());
    if is_verified && verified_root::opened(Path::new(SYS)).is_none() {
        let words =
            "the release has a root hash, but its root is not read through a verified device";
        status.warnings.push(words.to_owned());
    }
    for warning in &status.warnings {
        output::say(format_args!("warning: {warning}"));
    }
    if json {
        print(&(serde_json::to_string_pretty(&status.json())? + "\n"))?;
    } else {
        print(&status.text())?;
    }
    Ok(if status.record.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the kernel shows its devices.
const SYS: &str = "/sys";
/// How long reading the whole root may take beyond the deadline of the checks: a second for so many
/// bytes.
const LEAST_SPEED: u64 = 4 << 20;

/// Lines of a release's last words that are shown without `--full`.
const MOST_LAST_WORDS: usize = 10;

fn why(place: &Place, told: &Telling) -> Done {
    let machine = machine(place, Access::Read)?;
    machine.store.read()?;
    let status = machine.status();
    let Some(failure) = status.failure() else {
        let text = if told.json {
            "null".to_owned()
        } else {
            format!("no release failed: {}", status.sentence())
        };
        print(&(text + "\n"))?;
        return Ok(ExitCode::from(NOTHING_TO_DO));
    };
    if told.json {
        print(&(serde_json::to_string_pretty(&FailureJson::new(&failure))? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{failure}\n");
    if let Some(words) = &failure.last_words {
        text.push_str(&output::quoted(words, "  ", MOST_LAST_WORDS, told.full));
    }
    let about = Some(Choice::Slot(failure.slot));
    let from = status
        .events
        .iter()
        .rposition(|event| event.kind == Kind::Activated && event.subject == about);
    for event in status.events.iter().skip(from.unwrap_or(0)) {
        text.push_str(&output::event_lines(event, told.full));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn booted(place: &Place, options: &Booted) -> Done {
    let vars = variables(place);
    let handoff = handoff(vars.as_ref())
        .map_err(MachineError::Handoff)?
        .ok_or(MachineError::NotGuarded)?;
    let choice = choice_word(handoff.choice);
    let text = if options.root_device {
        root_device(&handoff)?.display().to_string()
    } else if options.json {
        serde_json::to_string_pretty(&serde_json::json!({
            "schema": "rayos-bootctl.booted/1",
            "choice": choice,
            "why": why_word(handoff.why),
            "left": handoff.left,
            "record_seq": handoff.seq,
            "disk_guid": handoff.disk_guid.to_string(),
            "boot_partuuid": handoff.boot_uuid.to_string(),
            "root_partuuid": handoff.root_uuid.to_string(),
            "state_partuuid": handoff.state_uuid.to_string(),
            "root_hash": handoff.verified_root.map(|root| verified_root::hex(&root.root_hash)),
        }))?
    } else {
        choice.to_owned()
    };
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn root(place: &Place, options: &Root) -> Done {
    let handoff = handoff(variables(place).as_ref())
        .map_err(MachineError::Handoff)?
        .ok_or(MachineError::NotGuarded)?;
    let partition = root_device(&handoff)?;
    let on_corruption = match options.on_corruption {
        Corruption::Restart => verified_root::restart(),
        Corruption::Report => OnCorruption::Report,
    };
    let node = verified_root::open(&handoff, &partition, on_corruption)?;
    print(&format!("{}\n", node.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The device node of the root partition that the guard named.
fn root_device(handoff: &record::Handoff) -> Result<PathBuf, Failure> {
    let Choice::Slot(slot) = handoff.choice else {
        return Err(Failure::NoRoot);
    };
    let devices = BlockDevices::default();
    let node = devices.booted(handoff).map_err(MachineError::from)?;
    let device = FileDevice::open(&node.path, Access::Read, SectorSize::Detect)
        .map_err(MachineError::from)?;
    let failed = |source| MachineError::Disk {
        path: node.path.clone(),
        source,
    };
    let disk = Disk::open(Arc::new(device)).map_err(failed)?;
    let root = disk
        .partitions()
        .root(slot)
        .filter(|root| root.uuid == handoff.root_uuid);
    let missing = FindError::NotFound {
        disk: handoff.disk_guid,
        state: handoff.root_uuid,
    };
    let root = root.ok_or(missing).map_err(MachineError::from)?;
    Ok(devices
        .partition(&node, &disk, &root)
        .map_err(MachineError::from)?)
}

fn milestone(place: &Place, options: &Milestone) -> Done {
    let machine = machine(place, Access::Record)?;
    let kind = match options.stage {
        Stage::Initramfs => Kind::Initramfs,
        Stage::RootMounted => Kind::RootMounted,
        Stage::Userspace => Kind::Userspace,
        Stage::Failed => Kind::HealthFailed,
    };
    machine.note(kind, Some(machine.require_booted()?), &options.text, now())?;
    Ok(ExitCode::SUCCESS)
}

fn collect_panics(place: &Place, pstore: &Path) -> Done {
    let machine = machine(place, Access::Record)?;
    machine.require_booted()?;
    let count = collect(&machine.log, pstore)?;
    if count == 0 {
        return Ok(ExitCode::from(NOTHING_TO_DO));
    }
    output::say(format_args!(
        "rayos-bootctl: {count} kernel panic(s) moved into the event ring"
    ));
    Ok(ExitCode::SUCCESS)
}

fn check_health(place: &Place, options: &Health) -> Done {
    let booted = machine(place, Access::Read)?.require_booted()?;
    if let Err(failure) = collect_panics(place, &options.panics.pstore) {
        output::say(format_args!("warning: {failure}"));
    }
    let Choice::Slot(slot) = booted else {
        return Ok(ExitCode::from(NOTHING_TO_DO));
    };
    let reading = RootReading::of_trial(place, slot, options)?;
    let plan = Plan {
        dir: options.dir.clone(),
        deadline: Duration::from_secs(options.deadline),
        time_out: Duration::from_secs(options.time_out),
        pause: Duration::from_secs(1),
    };
    let failed = |source| Failure::File {
        path: plan.dir.clone(),
        source,
    };
    let told = health::checks(&plan.dir).and_then(|checks| {
        Told::new(
            Path::new(WATCH_FILE),
            checks.len(),
            watch::uptime() + plan.deadline,
        )
    });
    if let Err(error) = &told {
        output::say(format_args!("warning: {WATCH_FILE}: {error}"));
    }
    let outcome = health::run(&plan, |text| {
        output::say(format_args!("rayos-bootctl: {text}"))
    })
    .map_err(failed)?;
    let (kind, failure) = match outcome {
        Outcome::Passed { .. } => match reading.map_or(Ok(()), RootReading::end) {
            Ok(()) => return commit(&machine(place, Access::Record)?, &options.commit),
            Err(failure) => (Kind::HealthFailed, failure),
        },
        Outcome::Failed(failure) => {
            output::say(format_args!(
                "RAYOS_BOOTCTL:HEALTH_FAILED check={}",
                failure.check
            ));
            (Kind::HealthFailed, failure)
        }
        Outcome::DeadlinePassed(failure) => {
            output::say(format_args!(
                "RAYOS_BOOTCTL:DEADLINE_PASSED check={}",
                failure.check
            ));
            (Kind::DeadlinePassed, failure)
        }
    };
    let text = format!("{failure}\n{}", failure.output);
    let noted = machine(place, Access::Record)
        .and_then(|machine| Ok(machine.note(kind, Some(booted), &text, now())?));
    if let Err(error) = noted {
        output::say(format_args!("warning: event not written: {error}"));
    }
    if options.reboot {
        rustix::fs::sync();
        rustix::system::reboot(rustix::system::RebootCommand::Restart).map_err(Failure::Reboot)?;
    }
    Ok(ExitCode::FAILURE)
}

/// The root of a release on trial, every block of which is read once before it is committed.
struct RootReading {
    ended: mpsc::Receiver<Result<u64, RootError>>,
    until: Instant,
}

impl RootReading {
    /// Begins to read, if `slot` is on trial and its root is verified.
    fn of_trial(place: &Place, slot: Slot, options: &Health) -> Result<Option<Self>, Failure> {
        let machine = machine(place, Access::Read)?;
        let root = machine.handoff.and_then(|handoff| handoff.verified_root);
        let (Some(root), Some(device)) = (root, verified_root::opened(Path::new(SYS))) else {
            return Ok(None);
        };
        if options.skip_root || machine.store.read()?.slot(slot).is_good() {
            return Ok(None);
        }
        let (tell, ended) = mpsc::channel();
        // A process that ends before does not wait for it.
        thread::spawn(move || tell.send(verified_root::read_all(&device)));
        let allowed = Duration::from_secs(options.deadline + root.len / LEAST_SPEED);
        let until = Instant::now() + allowed;
        Ok(Some(Self { ended, until }))
    }

    /// Waits until all is read.
    fn end(self) -> Result<(), health::Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        let what = match self.ended.recv_timeout(left) {
            Ok(Ok(bytes)) => {
                output::say(format_args!("rayos-bootctl: root verified, {bytes} bytes"));
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "was not read whole in time".to_owned(),
        };
        output::say(format_args!("RAYOS_BOOTCTL:HEALTH_FAILED check=root"));
        Err(health::Failure {
            check: "root".to_owned(),
            what,
            output: String::new(),
        })
    }
}

fn commit(machine: &Machine, options: &Commit) -> Done {
    let booted = machine.require_booted()?;
    if machine.store.read()?.compatible.as_str().is_empty() {
        match System::load(&options.system) {
            Ok(system) => drop(machine.identify(system.compatible())?),
            Err(error) => output::say(format_args!(
                "warning: the boot record does not say what this machine is: {error}"
            )),
        }
    }
    let change = machine.commit(now())?;
    warn(&change);
    if let Choice::Slot(slot) = booted {
        let version = change.after.slot(slot).release.version;
        output::say(format_args!(
            "RAYOS_BOOTCTL:COMMITTED slot={} version={version}",
            slot.letter()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what came of a change; exit code 7 if there was none.
fn changed(change: &Change) -> Done {
    warn(change);
    let status = Status {
        record: Some(change.after),
        ..Status::default()
    };
    print(&(status.sentence() + "\n"))?;
    if change.is_change() {
        return Ok(ExitCode::SUCCESS);
    }
    output::say(format_args!("nothing to do: it is so already"));
    Ok(ExitCode::from(NOTHING_TO_DO))
}

fn warn(change: &Change) {
    if let Some(error) = &change.copy {
        output::say(format_args!(
            "warning: only one copy of the boot record says so: {error}"
        ));
    }
    if let Some(error) = &change.event {
        output::say(format_args!("warning: event not written: {error}"));
    }
    report(&change.entries);
}

fn report(report: &Report) {
    for action in &report.done {
        output::say(format_args!("rayos-bootctl: done: {action}"));
    }
    if let Some(warning) = &report.warning {
        output::say(format_args!("warning: {warning}"));
    }
}

fn entries(place: &Place, options: &Entries) -> Done {
    let vars = variables(place);
    let found = BootVars::read(vars.as_ref()).map_err(Failure::Variables)?;
    // Which are ours is only known with the disk; the list is worth showing without it.
    let facts = machine(place, Access::Read)
        .ok()
        .and_then(|machine| machine.facts());
    if options.json {
        print(&(output::entries_json(&found, facts.as_ref())? + "\n"))?;
    } else {
        print(&output::entries_text(
            &found,
            facts.as_ref(),
            options.verbose,
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn log(place: &Place, told: &Telling) -> Done {
    let events = machine(place, Access::Read)?.log.events()?;
    if told.json {
        print(&(output::log_json(&events)? + "\n"))?;
    } else {
        print(
            &events
                .iter()
                .map(|event| output::event_lines(event, told.full))
                .collect::<String>(),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(options: &Generate) -> Done {
    let failed = |source| Failure::File {
        path: options.out.clone(),
        source,
    };
    std::fs::create_dir_all(&options.out).map_err(failed)?;
    match options.what {
        Generated::Man => clap_mangen::generate_to(Cli::command(), &options.out).map_err(failed)?,
        Generated::Completions => {
            use clap_complete::Shell;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(
                    shell,
                    &mut Cli::command(),
                    "rayos-bootctl",
                    &options.out,
                )
                .map_err(failed)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
