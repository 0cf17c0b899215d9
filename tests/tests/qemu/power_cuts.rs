//! Power cuts at random moments: QEMU is killed, the disk is checked, and the machine starts again.
//! The moment is a fraction of the processor time that the whole activity takes, measured
//! beforehand, so that a busy host does not shift it. A seed repeats the moments, but not exactly
//! what the machine does at them.
//!
//! For each activity a machine is brought to its beginning once and suspended with its memory;
//! every power cut resumes a copy. The environment sets the number of power cuts (`RAYOS_KILLS`,
//! `scripts/prove kills N`), the seed (`RAYOS_SEED`), the machines at a time (`RAYOS_JOBS`), the
//! fraction of machines that are started again (`RAYOS_START_EVERY`; every disk is checked), and the
//! file for the results (`RAYOS_FIGURES`).

mod worker;

use crate::disk_oracle::NextBoot;
use crate::installed::{Installed, copy, setting};
use crate::scenario::scenario;
use anyhow::{Context as _, Result};
use fixtures::dice::Dice;
use qemu::Scratch;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use worker::{PARTS, Worker};

/// What the machine does when its power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Activity {
    /// It writes a release to the other slot.
    Update,
    /// It starts a release on trial.
    Trial,
    /// A release on trial has started and is about to commit.
    Commit,
    /// It starts recovery for one boot.
    Recovery,
    /// The stick installs it.
    Install,
}

const ACTIVITIES: [Activity; 5] = [
    Activity::Update,
    Activity::Trial,
    Activity::Commit,
    Activity::Recovery,
    Activity::Install,
];

const OLD: NextBoot = NextBoot::Release("1.0.0");
const NEW: NextBoot = NextBoot::Release("1.1.0");

impl Activity {
    /// What the machine may start afterwards. *Pure.*
    const fn allowed(self) -> &'static [NextBoot] {
        match self {
            Self::Update => &[OLD, NEW],
            // A good release does not lose its trial by one power cut.
            Self::Trial | Self::Commit => &[NEW],
            Self::Recovery => &[OLD],
            Self::Install => &[NextBoot::Nothing, OLD],
        }
    }

    /// The marker that ends the activity. *Pure.*
    const fn end(self) -> &'static str {
        match self {
            Self::Update => "Slot B holds 1.1.0",
            Self::Trial | Self::Commit => "RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0",
            Self::Recovery => "RAYOS:RECOVERY",
            Self::Install => "reboot: Restarting system",
        }
    }
}

/// One power cut.
#[derive(Clone, Copy, Debug)]
struct PowerCut {
    activity: Activity,
    /// The moment, in millionths of the processor time of the whole activity. A few are later than
    /// its end.
    moment: u64,
    /// True if the machine is started again.
    restart: bool,
}

/// Number of power cuts unless `RAYOS_KILLS` sets it.
const POWER_CUTS: u64 = 50;
/// One of so many machines of each activity is started again unless `RAYOS_START_EVERY` sets it.
const START_EVERY: u64 = 5;
const MILLION: u64 = 1_000_000;

/// The power cuts of this run and their results.
struct Run {
    seed: u64,
    count: u64,
    start_every: u64,
    figures: Option<PathBuf>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The number of the next power cut.
    next: u64,
    failed: bool,
    results: BTreeMap<u64, String>,
}

impl Run {
    fn from_environment() -> Result<Self> {
        Ok(Self {
            seed: setting("RAYOS_SEED", 1)?,
            count: setting("RAYOS_KILLS", POWER_CUTS)?,
            start_every: setting("RAYOS_START_EVERY", START_EVERY)?.max(1),
            figures: std::env::var_os("RAYOS_FIGURES").map(Into::into),
            progress: Mutex::default(),
        })
    }

    /// The power cut with this number. *Pure.*
    const fn power_cut(&self, number: u64) -> PowerCut {
        let (kinds, kind) = (ACTIVITIES.len() as u64, number as usize % ACTIVITIES.len());
        let moment = Dice::new(self.seed ^ number.rotate_left(32)).below(MILLION + MILLION / 16);
        PowerCut {
            activity: ACTIVITIES[kind],
            moment,
            restart: (number / kinds).is_multiple_of(self.start_every),
        }
    }

    /// The number of the next power cut; `None` if all are done or one has failed.
    fn next(&self) -> Option<u64> {
        let mut progress = self.progress();
        let number = progress.next;
        progress.next += 1;
        (number < self.count && !progress.failed).then_some(number)
    }

    /// Makes one power cut after the other until none is left or one fails.
    fn work(&self, worker: &mut Worker<'_>) -> Result<()> {
        while let Some(number) = self.next() {
            let cut = self.power_cut(number);
            let next_boot = worker.cut_power(cut).with_context(|| {
                self.progress().failed = true;
                format!("power cut {number} of seed {}: {cut:?}", self.seed)
            })?;
            self.report(number, cut, next_boot)?;
        }
        Ok(())
    }

    /// Adds a result to the file of results.
    fn report(&self, number: u64, cut: PowerCut, next_boot: NextBoot) -> Result<()> {
        let then = match next_boot {
            NextBoot::Nothing => "nothing",
            NextBoot::Release(version) => version,
        };
        let PowerCut {
            activity, restart, ..
        } = cut;
        let line = format!(
            "{{\"doing\": \"{activity:?}\", \"then\": \"{then}\", \"started\": {restart}}}"
        );
        let mut progress = self.progress();
        progress.results.insert(number, line);
        if let Some(path) = &self.figures {
            let commit = std::env::var("RAYOS_COMMIT").unwrap_or_default();
            let lines: Vec<&str> = progress.results.values().map(String::as_str).collect();
            let head = format!("\"seed\": {}, \"commit\": \"{commit}\"", self.seed);
            let lines = lines.join(",\n");
            fs::write(path, format!("{{{head}, \"kills\": [\n{lines}\n]}}\n"))?;
        }
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn a_machine_survives_power_cuts_at_random_moments() -> Result<()> {
    let run = Run::from_environment()?;
    let installed = Installed::ready()?;
    scenario("power-cuts", |scenario| {
        // The next run of the tests replaces the installed machine of this one.
        scenario.copy_installed()?;
        for name in &PARTS[..2] {
            fs::rename(scenario.file(name), scenario.file(format!("base-{name}")))?;
        }
        let (scratch, web) = (&scenario.scratch, &scenario.web);
        let work = |number: u64| -> Result<()> {
            let own = Scratch::at(scratch.file(format!("worker-{number}")))?;
            for name in &PARTS[..2] {
                let base = format!("base-{name}");
                copy(&scratch.file(&base), &own.file(&base))?;
            }
            let result =
                Worker::new(&installed, &own, web).and_then(|mut worker| run.work(&mut worker));
            own.finish(result)
        };
        let jobs = setting("RAYOS_JOBS", 1)?.max(1);
        std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = (0..jobs)
                .map(|number| scope.spawn(move || work(number)))
                .collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            let results: Vec<_> = ended
                .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            results.into_iter().collect()
        })
    })
}
