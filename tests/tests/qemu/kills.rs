//! The machine is killed at random moments, as by somebody who pulls the plug, and started again. One seed gives the
//! same moments; the machine is real, so what it is doing then is not.
//!
//! `RAYOS_KILLS` sets how many (`scripts/prove kills N`), `RAYOS_SEED` the seed, and `RAYOS_FIGURES` where the figures go.

use crate::installed::{Installed, LOST, blank_disk, copy, machine, media};
use crate::judge::{Judge, Starts};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::sim::cut::Dice;
use tests::sim::image::Image;
use tests::{Disk, Machine, Running, Scratch, WebServer};

/// What the machine is doing when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Longest that a machine needs to come up, on a slow host.
const PATIENCE: Duration = Duration::from_secs(240);

struct Kills<'a> {
    installed: &'a Installed,
    scratch: &'a Scratch,
    /// The installed machine, kept here, since the next run of the tests makes its own in that one's place.
    base: [PathBuf; 2],
    /// A machine on which 1.1.0 was applied and not started yet.
    activated: [PathBuf; 2],
    web: &'a WebServer,
    judge: Judge,
    dice: Dice,
}

#[test]
fn killed_at_random() -> Result<()> {
    let setting = |name: &str, otherwise: u64| -> Result<u64> {
        std::env::var(name)
            .map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text}")))
    };
    let (count, seed) = (setting("RAYOS_KILLS", DOINGS.len() as u64)?, setting("RAYOS_SEED", 1)?);
    let installed = Installed::ready()?;
    let scratch = Scratch::new("kills")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let base = ["base.img", "base.fd"].map(|name| scratch.file(name));
        let activated = ["activated.img", "activated.fd"].map(|name| scratch.file(name));
        installed.copy_to(&scratch)?;
        for (from, to) in ["disk.img", "vars.fd"].iter().zip(&base) {
            copy(&scratch.file(from), to)?;
        }
        let dice = Dice::new(seed);
        let judge = Judge::new(&installed.sample)?;
        let mut kills =
            Kills { installed: &installed, scratch: &scratch, base, activated, web: &web, judge, dice };
        kills.activate()?;
        let mut told = Vec::new();
        for number in 0..count {
            let doing = DOINGS[(number % DOINGS.len() as u64) as usize];
            let after =
                kills.kill_once(doing).with_context(|| format!("kill {number} of seed {seed}: {doing:?}"))?;
            told.push(format!("{{\"doing\": \"{doing:?}\", \"then\": \"{after}\"}}"));
            if let Some(path) = std::env::var_os("RAYOS_FIGURES") {
                fs::write(path, format!("{{\"seed\": {seed}, \"kills\": [\n{}\n]}}\n", told.join(",\n")))?;
            }
        }
        Ok(())
    }();
    scratch.finish(result)
}

impl Kills<'_> {
    /// Puts a kept machine in place.
    fn take(&self, kept: &[PathBuf; 2]) -> Result<()> {
        copy(&kept[0], &self.scratch.file("disk.img"))?;
        copy(&kept[1], &self.scratch.file("vars.fd"))
    }

    fn start_base(&self) -> Result<Running> {
        self.take(&self.base)?;
        let mut running = machine(self.scratch).start("update")?;
        running.fatal(&LOST).step("the installed release comes up").expect(UP_OLD)?;
        running.expect_shell()?;
        Ok(running)
    }

    /// Applies 1.1.0 once, for all trials.
    fn activate(&self) -> Result<()> {
        let mut running = self.start_base()?;
        running.check(&format!("rayos-updater apply {}", self.web.guest_url("rayos-1.1.0.bundle")))?;
        running.check("sync")?;
        running.power_off()?;
        for (from, to) in ["disk.img", "vars.fd"].iter().zip(&self.activated) {
            copy(&self.scratch.file(from), to)?;
        }
        Ok(())
    }

    /// Lets the machine do it, kills it, and starts it again. What came up then.
    fn kill_once(&mut self, doing: Doing) -> Result<&'static str> {
        if doing == Doing::Install {
            return self.kill_installation();
        }
        let running = match doing {
            Doing::Update => {
                let mut running = self.start_base()?;
                running.send_line(&format!(
                    "rayos-updater apply {}",
                    self.web.guest_url("rayos-1.1.0.bundle")
                ))?;
                running
            }
            Doing::Trial | Doing::Commit => {
                self.take(&self.activated)?;
                let mut running = machine(self.scratch).start("killed")?;
                running.step("the guard starts the trial").expect("rayos-guard: starting slot B")?;
                if doing == Doing::Commit {
                    running.step("the trial comes up").expect_within(UP_NEW, PATIENCE)?;
                }
                running
            }
            Doing::Recovery | Doing::Install => {
                self.take(&self.base)?;
                let asked = Command::new(self.installed.sample.program("rayos-bootctl"))
                    .arg("--disk")
                    .arg(self.scratch.file("disk.img"))
                    .args(["boot-once", "recovery"])
                    .output()?;
                ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
                let mut running = machine(self.scratch).start("killed")?;
                running.step("the guard starts recovery").expect("rayos-guard: starting recovery")?;
                running
            }
        };
        let window = match doing {
            Doing::Update | Doing::Recovery => 12_000,
            Doing::Trial => 20_000,
            Doing::Commit | Doing::Install => 3_000,
        };
        self.kill_within(running, window)?;
        let image = Image::of_file(&self.scratch.file("disk.img"))?;
        self.judge.verdict(&image, &["1.0.0", "1.1.0"].map(Starts::Release))?;
        let mut again = machine(self.scratch).start("again")?;
        again.fatal(&LOST).step("the machine comes up again");
        let (which, _) = again.expect_any(&[UP_OLD, UP_NEW], PATIENCE)?;
        again.kill()?;
        let came = ["1.0.0", "1.1.0"][which];
        match doing {
            Doing::Trial | Doing::Commit if came == "1.0.0" => {
                bail!("a good release lost its trial by one cut")
            }
            Doing::Recovery if came == "1.1.0" => bail!("1.1.0 came up, and nobody applied it"),
            _ => Ok(came),
        }
    }

    /// An installation that is killed is begun again by the stick, without a question.
    fn kill_installation(&mut self) -> Result<&'static str> {
        let [stick, _] = media()?;
        let disk = self.scratch.file("disk.img");
        drop(fs::remove_file(self.scratch.file("vars.fd")));
        drop(fs::remove_file(&disk));
        blank_disk(&disk)?;
        let with_stick = |name: &str| {
            let stick = Disk::usb(&stick).read_only();
            Machine::new(self.scratch).disk(Disk::virtio(&disk)).disk(stick).start(name)
        };
        let mut running = with_stick("killed")?;
        running
            .step("the installer begins to write")
            .expect_within("RAYOS_INSTALLER:WRITE_STARTED", PATIENCE)?;
        let wait = Duration::from_millis(self.dice.below(15_000));
        wait_and_kill(running, wait)?;
        self.judge.verdict(&Image::of_file(&disk)?, &[Starts::Nothing, Starts::Release("1.0.0")])?;
        let mut again = with_stick("again")?;
        again.fatal(&LOST).step("the stick starts, or what is installed does");
        let (which, _) = again.expect_any(&["RAYOS:RECOVERY", UP_OLD], PATIENCE)?;
        if which == 0 {
            again
                .step("the installation is begun anew")
                .expect_within("RAYOS_INSTALLER:COMPLETE", PATIENCE)?;
        }
        again.kill()?;
        Ok("1.0.0")
    }

    fn kill_within(&mut self, running: Running, window: u64) -> Result<()> {
        let wait = Duration::from_millis(self.dice.below(window));
        wait_and_kill(running, wait)
    }
}

/// Lets the machine go on for a while, and kills it whatever it does.
fn wait_and_kill(mut running: Running, wait: Duration) -> Result<()> {
    // Only time ends this: the line does not exist.
    drop(running.expect_any(&["RAYOS:NO_SUCH_LINE"], wait));
    Ok(running.kill()?)
}
