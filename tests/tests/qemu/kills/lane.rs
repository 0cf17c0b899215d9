//! Kills one machine after the other, in a folder of its own.

use super::{Doing, Kill, MILLION, NEW};
use crate::installed::{Installed, LOST, blank_disk, copy, machine, media, settled};
use crate::judge::{Judge, Starts};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;
use tests::WebServer;
use tests::sim::image::Image;

const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Longest that a machine needs to come up, on a slow host.
const PATIENCE: Duration = Duration::from_secs(240);
/// A kept machine: its disk, its variables, its memory.
pub(super) const PARTS: [&str; 3] = ["disk.img", "vars.fd", "memory"];

/// A place to kill machines.
pub(super) struct Lane<'a> {
    installed: &'a Installed,
    scratch: &'a Scratch,
    web: &'a WebServer,
    judge: Judge,
    /// Machines that were brought to where this begins, and the work that it is from there to its
    /// end.
    kept: HashMap<Doing, Duration>,
}

impl<'a> Lane<'a> {
    /// `scratch` holds the installed machine, as `base-disk.img` and `base-vars.fd`.
    pub(super) fn new(
        installed: &'a Installed,
        scratch: &'a Scratch,
        web: &'a WebServer,
    ) -> Result<Self> {
        let judge = Judge::new(&installed.sample)?;
        Ok(Self {
            installed,
            scratch,
            web,
            judge,
            kept: HashMap::new(),
        })
    }

    /// Lets the machine do it, kills it, judges its disk, and starts it again. What it starts.
    pub(super) fn kill_once(&mut self, kill: Kill) -> Result<Starts> {
        let all = self.work_of(kill.doing)?;
        let work = all.mul_f64(kill.moment as f64 / MILLION as f64);
        self.begin(kill.doing, "killed")?.kill_after(work)?;
        let image = Image::of_file(&self.scratch.file("disk.img"))?;
        let starts = self.judge.verdict(&image, kill.doing.allowed())?;
        if kill.again {
            self.start_again(kill.doing, starts)?;
        }
        Ok(starts)
    }

    /// How much work it is. The first time, the machine is brought to where it begins and kept
    /// there, and does all of it once.
    fn work_of(&mut self, doing: Doing) -> Result<Duration> {
        if let Some(work) = self.kept.get(&doing) {
            return Ok(*work);
        }
        let running = self.bring(doing)?;
        running.suspend(&self.scratch.file("memory"))?;
        for part in PARTS {
            fs::rename(
                self.scratch.file(part),
                self.scratch.file(format!("{doing:?}-{part}")),
            )?;
        }
        let mut running = self.begin(doing, "whole")?;
        let before = running.cpu_time()?;
        running.fatal(&LOST).step("nobody kills it");
        running.expect_within(doing.end(), PATIENCE)?;
        let work = running.cpu_time()?.saturating_sub(before);
        running.kill()?;
        self.kept.insert(doing, work);
        Ok(work)
    }

    fn take(&self, name: &str, parts: &[&str]) -> Result<()> {
        parts.iter().try_for_each(|part| {
            copy(
                &self.scratch.file(format!("{name}-{part}")),
                &self.scratch.file(part),
            )
        })
    }

    /// The machine that does it: its disk, and the stick if it is installed from one.
    fn machine(&self, doing: Doing) -> Result<Machine<'_>> {
        if doing != Doing::Install {
            return Ok(machine(self.scratch));
        }
        let [stick, _] = media()?;
        let disk = Disk::virtio(self.scratch.file("disk.img"));
        Ok(Machine::new(self.scratch)
            .disk(disk)
            .disk(Disk::usb(stick).read_only()))
    }

    /// The kept machine, on, at the moment from which it may be killed.
    fn begin(&self, doing: Doing, log: &str) -> Result<Running> {
        let name = format!("{doing:?}");
        self.take(&name, &PARTS[..2])?;
        let memory = self.scratch.file(format!("{name}-memory"));
        let mut running = self.machine(doing)?.resume(memory).start(log)?;
        if doing == Doing::Update {
            let bundle = self.web.guest_url("rayos-1.1.0.bundle");
            running.send_line(&format!("rayos-updater apply {bundle}"))?;
        }
        Ok(running)
    }

    fn bring(&self, doing: Doing) -> Result<Running> {
        match doing {
            Doing::Update => self.start_base(),
            Doing::Trial | Doing::Commit => {
                self.activate()?;
                let mut running = self.machine(doing)?.start("kept")?;
                running
                    .step("the guard starts the trial")
                    .expect("rayos-guard: starting slot B")?;
                if doing == Doing::Commit {
                    running
                        .step("the trial comes up")
                        .expect_within(UP_NEW, PATIENCE)?;
                }
                Ok(running)
            }
            Doing::Recovery => {
                self.take("base", &PARTS[..2])?;
                let disk = self.scratch.file("disk.img");
                let mut ask = Command::new(self.installed.sample.program("rayos-bootctl"));
                let asked = ask
                    .arg("--disk")
                    .arg(disk)
                    .args(["boot-once", "recovery"])
                    .output()?;
                ensure!(
                    asked.status.success(),
                    "{}",
                    String::from_utf8_lossy(&asked.stderr)
                );
                let mut running = self.machine(doing)?.start("kept")?;
                running
                    .step("the guard starts recovery")
                    .expect("rayos-guard: starting recovery")?;
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
        running
            .fatal(&LOST)
            .step("the installed release comes up")
            .expect(UP_OLD)?;
        settled(&mut running, "a", "1.0.0")?;
        Ok(running)
    }

    /// A machine on which 1.1.0 was applied and not started yet: once for all trials.
    fn activate(&self) -> Result<()> {
        if !self.scratch.file("activated-disk.img").exists() {
            let mut running = self.start_base()?;
            running.check(&format!(
                "rayos-updater apply {}",
                self.web.guest_url("rayos-1.1.0.bundle")
            ))?;
            running.check("sync")?;
            running.power_off()?;
            for part in &PARTS[..2] {
                copy(
                    &self.scratch.file(part),
                    &self.scratch.file(format!("activated-{part}")),
                )?;
            }
        }
        self.take("activated", &PARTS[..2])
    }

    /// What was to start comes up. An installation that was not complete is begun again by the
    /// stick, without a question.
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
