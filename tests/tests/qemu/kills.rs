//! The machine is killed at random moments, as by somebody who pulls the plug, and started again. One seed gives the
//! same moments; the machine is real, so what it is doing then is not.
//!
//! Machines are brought to where it gets interesting once, stopped there with all their memory, and go on from there each
//! time. `RAYOS_KILLS` sets how many are killed (`scripts/prove kills N`), `RAYOS_SEED` the seed, `RAYOS_START_EVERY` that only
//! every so many are really started again (all are judged), and `RAYOS_FIGURES` where the figures go.

use crate::installed::{Installed, LOST, blank_disk, copy, machine, media, setting, settled};
use crate::judge::{Judge, Starts};
use anyhow::{Context as _, Result, ensure};
use fixtures::dice::Dice;
use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::Duration;
use tests::sim::image::Image;
use tests::{Disk, Machine, Running, Scratch, WebServer};

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

const DOINGS: [Doing; 5] = [Doing::Update, Doing::Trial, Doing::Commit, Doing::Recovery, Doing::Install];

const OLD: Starts = Starts::Release("1.0.0");
const NEW: Starts = Starts::Release("1.1.0");
const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Longest that a machine needs to come up, on a slow host.
const PATIENCE: Duration = Duration::from_secs(240);
/// A kept machine: its disk, its variables, its memory.
const PARTS: [&str; 3] = ["disk.img", "vars.fd", "memory"];

impl Doing {
    /// How long it goes on, in milliseconds, under emulation.
    const fn window(self) -> u64 {
        match self {
            Self::Update | Self::Recovery => 12_000,
            Self::Trial => 20_000,
            Self::Commit => 3_000,
            Self::Install => 15_000,
        }
    }

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
}

struct Kills<'a> {
    installed: &'a Installed,
    scratch: &'a Scratch,
    web: &'a WebServer,
    judge: Judge,
    dice: Dice,
    /// Machines that were brought to where this begins.
    kept: HashSet<Doing>,
}

#[test]
fn killed_at_random() -> Result<()> {
    let (count, seed) = (setting("RAYOS_KILLS", DOINGS.len() as u64)?, setting("RAYOS_SEED", 1)?);
    let start_every = setting("RAYOS_START_EVERY", 1)?.max(1);
    let installed = Installed::ready()?;
    let scratch = Scratch::new("kills")?;
    let result = || -> Result<()> {
        // The next run of the tests makes an installed machine of its own in the place of this one.
        installed.copy_to(&scratch)?;
        for name in &PARTS[..2] {
            copy(&scratch.file(name), &scratch.file(format!("base-{name}")))?;
        }
        let web = WebServer::start(installed.sample.folder())?;
        let judge = Judge::new(&installed.sample)?;
        let (dice, kept) = (Dice::new(seed), HashSet::new());
        let mut kills = Kills { installed: &installed, scratch: &scratch, web: &web, judge, dice, kept };
        let mut told = Vec::new();
        for number in 0..count {
            let doing = DOINGS[(number % DOINGS.len() as u64) as usize];
            let again = (number / DOINGS.len() as u64).is_multiple_of(start_every);
            let after = kills
                .kill_once(doing, again)
                .with_context(|| format!("kill {number} of seed {seed}: {doing:?}"))?;
            let after = match after {
                Starts::Nothing => "nothing",
                Starts::Release(version) => version,
            };
            told.push(format!("{{\"doing\": \"{doing:?}\", \"then\": \"{after}\", \"started\": {again}}}"));
            if let Some(path) = std::env::var_os("RAYOS_FIGURES") {
                fs::write(path, format!("{{\"seed\": {seed}, \"kills\": [\n{}\n]}}\n", told.join(",\n")))?;
            }
        }
        Ok(())
    }();
    scratch.finish(result)
}

impl Kills<'_> {
    fn take(&self, name: &str, parts: &[&str]) -> Result<()> {
        parts
            .iter()
            .try_for_each(|part| copy(&self.scratch.file(format!("{name}-{part}")), &self.scratch.file(part)))
    }

    /// The machine that does it: its disk, and the stick if it is installed from one.
    fn machine(&self, doing: Doing) -> Result<Machine<'_>> {
        if doing != Doing::Install {
            return Ok(machine(self.scratch));
        }
        let [stick, _] = media()?;
        let disk = Disk::virtio(self.scratch.file("disk.img"));
        Ok(Machine::new(self.scratch).disk(disk).disk(Disk::usb(stick).read_only()))
    }

    /// The machine, on, at the moment from which it may be killed.
    fn begin(&mut self, doing: Doing) -> Result<Running> {
        let name = format!("{doing:?}");
        if self.kept.insert(doing) {
            let running = self.bring(doing)?;
            running.freeze(&self.scratch.file("memory"))?;
            for part in PARTS {
                fs::rename(self.scratch.file(part), self.scratch.file(format!("{name}-{part}")))?;
            }
        }
        self.take(&name, &PARTS[..2])?;
        let mut running =
            self.machine(doing)?.resume(self.scratch.file(format!("{name}-memory"))).start("killed")?;
        if doing == Doing::Update {
            let bundle = self.web.guest_url("rayos-1.1.0.bundle");
            running.send_line(&format!("rayos-updater apply {bundle}"))?;
        }
        Ok(running)
    }

    fn bring(&mut self, doing: Doing) -> Result<Running> {
        match doing {
            Doing::Update => self.start_base(),
            Doing::Trial | Doing::Commit => {
                self.activate()?;
                let mut running = self.machine(doing)?.start("kept")?;
                running.step("the guard starts the trial").expect("rayos-guard: starting slot B")?;
                if doing == Doing::Commit {
                    running.step("the trial comes up").expect_within(UP_NEW, PATIENCE)?;
                }
                Ok(running)
            }
            Doing::Recovery => {
                self.take("base", &PARTS[..2])?;
                let disk = self.scratch.file("disk.img");
                let mut ask = Command::new(self.installed.sample.program("rayos-bootctl"));
                let asked = ask.arg("--disk").arg(disk).args(["boot-once", "recovery"]).output()?;
                ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
                let mut running = self.machine(doing)?.start("kept")?;
                running.step("the guard starts recovery").expect("rayos-guard: starting recovery")?;
                Ok(running)
            }
            Doing::Install => {
                drop(fs::remove_file(self.scratch.file("vars.fd")));
                drop(fs::remove_file(self.scratch.file("disk.img")));
                blank_disk(&self.scratch.file("disk.img"))?;
                let mut running = self.machine(doing)?.start("kept")?;
                running
                    .step("the installer begins to write")
                    .expect_within("RAYOS_INSTALLER:WRITE_STARTED", PATIENCE)?;
                Ok(running)
            }
        }
    }

    fn start_base(&self) -> Result<Running> {
        self.take("base", &PARTS[..2])?;
        let mut running = machine(self.scratch).start("update")?;
        running.fatal(&LOST).step("the installed release comes up").expect(UP_OLD)?;
        settled(&mut running, "a", "1.0.0")?;
        Ok(running)
    }

    /// A machine on which 1.1.0 was applied and not started yet: once for all trials.
    fn activate(&self) -> Result<()> {
        if !self.scratch.file("activated-disk.img").exists() {
            let mut running = self.start_base()?;
            running.check(&format!("rayos-updater apply {}", self.web.guest_url("rayos-1.1.0.bundle")))?;
            running.check("sync")?;
            running.power_off()?;
            for part in &PARTS[..2] {
                copy(&self.scratch.file(part), &self.scratch.file(format!("activated-{part}")))?;
            }
        }
        self.take("activated", &PARTS[..2])
    }

    /// Lets the machine do it, kills it, judges its disk, and starts it again. What it starts.
    fn kill_once(&mut self, doing: Doing, again: bool) -> Result<Starts> {
        let running = self.begin(doing)?;
        let wait = Duration::from_millis(self.dice.below(doing.window()));
        wait_and_kill(running, wait)?;
        let image = Image::of_file(&self.scratch.file("disk.img"))?;
        let starts = self.judge.verdict(&image, doing.allowed())?;
        if again {
            self.start_again(doing, starts)?;
        }
        Ok(starts)
    }

    /// What was to start comes up. An installation that was not complete is begun again by the stick, without a question.
    fn start_again(&self, doing: Doing, starts: Starts) -> Result<()> {
        let mut again = self.machine(doing)?.start("again")?;
        again.fatal(&LOST).step("the machine comes up again");
        if doing == Doing::Install {
            let (which, _) = again.expect_any(&["RAYOS:RECOVERY", UP_OLD], PATIENCE)?;
            if which == 0 {
                again
                    .step("the installation is begun anew, or the disk is started")
                    .expect_within("reboot: Restarting system", PATIENCE)?;
            }
        } else {
            again.expect_within(if starts == NEW { UP_NEW } else { UP_OLD }, PATIENCE)?;
        }
        Ok(again.kill()?)
    }
}

/// Lets the machine go on for a while, and kills it whatever it does.
fn wait_and_kill(mut running: Running, wait: Duration) -> Result<()> {
    // Only time ends this: the line does not exist.
    drop(running.expect_any(&["RAYOS:NO_SUCH_LINE"], wait));
    Ok(running.kill()?)
}
