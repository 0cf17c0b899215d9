//! The machine is killed at random moments, as by somebody who pulls the plug, and started again.
//! The moment is a share of the work that a whole run takes, measured beforehand, not of the time:
//! a busy host only makes it slower. One seed gives the same moments; the machine is real, so what
//! it is doing then is not.
//!
//! Machines are brought to where it gets interesting once, stopped there with all their memory, and
//! go on from there each time. `RAYOS_KILLS` sets how many are killed (`scripts/prove kills N`),
//! `RAYOS_SEED` the seed, `RAYOS_JOBS` how many at a time, `RAYOS_START_EVERY` that only every so
//! many are really started again (all are judged), and `RAYOS_FIGURES` where the figures go.

mod lane;

use crate::installed::{Installed, copy, setting};
use crate::judge::Starts;
use anyhow::{Context as _, Result};
use fixtures::dice::Dice;
use lane::{Lane, PARTS};
use qemu::Scratch;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tests::WebServer;

/// What the machine is doing when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// A release is written to the other slot.
    Update,
    /// A release on trial starts.
    Trial,
    /// A release on trial is up, and is about to be declared good.
    Commit,
    /// Recovery starts, for one boot.
    Recovery,
    /// The machine is installed from the stick.
    Install,
}

const DOINGS: [Doing; 5] = [
    Doing::Update,
    Doing::Trial,
    Doing::Commit,
    Doing::Recovery,
    Doing::Install,
];

const OLD: Starts = Starts::Release("1.0.0");
const NEW: Starts = Starts::Release("1.1.0");

impl Doing {
    /// What the machine may start after it was killed.
    const fn allowed(self) -> &'static [Starts] {
        match self {
            Self::Update => &[OLD, NEW],
            // A good release does not lose its trial by one cut.
            Self::Trial | Self::Commit => &[NEW],
            Self::Recovery => &[OLD],
            Self::Install => &[Starts::Nothing, OLD],
        }
    }

    /// What the console says when it is done.
    const fn end(self) -> &'static str {
        match self {
            Self::Update => "Slot B holds 1.1.0",
            Self::Trial | Self::Commit => "RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0",
            Self::Recovery => "RAYOS:RECOVERY",
            Self::Install => "reboot: Restarting system",
        }
    }
}

/// One machine to be killed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    doing: Doing,
    /// Share of the work at which it is killed, in millionths; a little more than all of it at
    /// most.
    moment: u64,
    /// Whether it is started again.
    again: bool,
}

/// How many are killed, and every which of each kind is started again, where nothing else is said.
const KILLS: u64 = 50;
const START_EVERY: u64 = 5;
const MILLION: u64 = 1_000_000;

/// All that is to be done, and what came of it.
struct Kills {
    seed: u64,
    count: u64,
    start_every: u64,
    figures: Option<PathBuf>,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    /// The next number to be handed out.
    next: u64,
    failed: bool,
    told: BTreeMap<u64, String>,
}

impl Kills {
    fn asked_for() -> Result<Self> {
        Ok(Self {
            seed: setting("RAYOS_SEED", 1)?,
            count: setting("RAYOS_KILLS", KILLS)?,
            start_every: setting("RAYOS_START_EVERY", START_EVERY)?.max(1),
            figures: std::env::var_os("RAYOS_FIGURES").map(Into::into),
            done: Mutex::default(),
        })
    }

    /// The kill with this number, whoever is at it. *Pure.*
    const fn kill(&self, number: u64) -> Kill {
        let (kinds, kind) = (DOINGS.len() as u64, number as usize % DOINGS.len());
        let moment = Dice::new(self.seed ^ number.rotate_left(32)).below(MILLION + MILLION / 16);
        Kill {
            doing: DOINGS[kind],
            moment,
            again: (number / kinds).is_multiple_of(self.start_every),
        }
    }

    /// The next one; `None` when all are done or one failed.
    fn next(&self) -> Option<u64> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let number = done.next;
        done.next += 1;
        (number < self.count && !done.failed).then_some(number)
    }

    /// Takes one after the other, until none is left or one fails.
    fn work(&self, lane: &mut Lane<'_>) -> Result<()> {
        while let Some(number) = self.next() {
            let kill = self.kill(number);
            let after = lane.kill_once(kill).with_context(|| {
                self.done
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .failed = true;
                format!("kill {number} of seed {}: {kill:?}", self.seed)
            })?;
            self.tell(number, kill, after)?;
        }
        Ok(())
    }

    fn tell(&self, number: u64, kill: Kill, after: Starts) -> Result<()> {
        let after = match after {
            Starts::Nothing => "nothing",
            Starts::Release(version) => version,
        };
        let Kill { doing, again, .. } = kill;
        let line =
            format!("{{\"doing\": \"{doing:?}\", \"then\": \"{after}\", \"started\": {again}}}");
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.told.insert(number, line);
        if let Some(path) = &self.figures {
            let commit = std::env::var("RAYOS_COMMIT").unwrap_or_default();
            let lines: Vec<&str> = done.told.values().map(String::as_str).collect();
            let head = format!("\"seed\": {}, \"commit\": \"{commit}\"", self.seed);
            fs::write(
                path,
                format!("{{{head}, \"kills\": [\n{}\n]}}\n", lines.join(",\n")),
            )?;
        }
        Ok(())
    }
}

#[test]
fn killed_at_random() -> Result<()> {
    let kills = Kills::asked_for()?;
    let installed = Installed::ready()?;
    let scratch = Scratch::new("kills")?;
    let result = || -> Result<()> {
        // The next run of the tests makes an installed machine of its own in the place of this one.
        installed.copy_to(&scratch)?;
        for name in &PARTS[..2] {
            fs::rename(scratch.file(name), scratch.file(format!("base-{name}")))?;
        }
        let web = WebServer::start(installed.sample.folder())?;
        let lane = |number: u64| -> Result<()> {
            let own = Scratch::at(scratch.file(format!("lane-{number}")))?;
            for name in &PARTS[..2] {
                let base = format!("base-{name}");
                copy(&scratch.file(&base), &own.file(&base))?;
            }
            let result =
                Lane::new(&installed, &own, &web).and_then(|mut lane| kills.work(&mut lane));
            own.finish(result)
        };
        let jobs = setting("RAYOS_JOBS", 1)?.max(1);
        std::thread::scope(|scope| {
            let lane = &lane;
            let lanes: Vec<_> = (0..jobs)
                .map(|number| scope.spawn(move || lane(number)))
                .collect();
            let ended = lanes.into_iter().map(|lane| lane.join());
            let results: Vec<_> = ended
                .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            results.into_iter().collect()
        })
    }();
    scratch.finish(result)
}
