//! Cuts the power of one machine after the other, in a folder of its own.

use super::{Activity, MILLION, NEW, PowerCut};
use crate::disk_oracle::{DiskOracle, NextBoot};
use crate::installed::{Installed, LOST, blank_disk, copy, media};
use crate::scenario::Steps as _;
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;
use tests::WebServer;
use tests::sim::hardware::image::Image;

const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Maximum duration of a start on a slow host.
const PATIENCE: Duration = Duration::from_secs(240);
/// The files of a suspended machine: disk, variables, memory.
pub(super) const PARTS: [&str; 3] = ["disk.img", "vars.fd", "memory"];

/// Cuts the power of machines.
pub(super) struct Worker<'a> {
    installed: &'a Installed,
    scratch: &'a Scratch,
    web: &'a WebServer,
    oracle: DiskOracle,
    /// Activities whose machine is suspended at the beginning, and their whole processor time.
    suspended: HashMap<Activity, Duration>,
}

impl<'a> Worker<'a> {
    /// Returns a worker in `scratch`, which has the installed machine as `base-disk.img` and
    /// `base-vars.fd`.
    pub(super) fn new(
        installed: &'a Installed,
        scratch: &'a Scratch,
        web: &'a WebServer,
    ) -> Result<Self> {
        let oracle = DiskOracle::new(&installed.sample)?;
        Ok(Self {
            installed,
            scratch,
            web,
            oracle,
            suspended: HashMap::new(),
        })
    }

    /// Cuts the power of a machine during its activity, checks its disk, and starts it again if
    /// [`PowerCut::restart`] is set. Returns what the machine starts.
    pub(super) fn cut_power(&mut self, cut: PowerCut) -> Result<NextBoot> {
        let whole = self.cpu_time_of(cut.activity)?;
        let until = whole.mul_f64(cut.moment as f64 / MILLION as f64);
        self.begin(cut.activity, "killed")?.kill_after(until)?;
        let image = Image::of_file(&self.scratch.file("disk.img"))?;
        let next_boot = self.oracle.check(&image, cut.activity.allowed())?;
        if cut.restart {
            self.start_again(cut.activity, next_boot)?;
        }
        Ok(next_boot)
    }

    /// Returns the processor time of the whole activity. At the first call it suspends a machine at
    /// the beginning of the activity and runs a copy to its end.
    fn cpu_time_of(&mut self, activity: Activity) -> Result<Duration> {
        if let Some(time) = self.suspended.get(&activity) {
            return Ok(*time);
        }
        let running = self.prepare(activity)?;
        running.suspend(&self.scratch.file("memory"))?;
        for part in PARTS {
            fs::rename(
                self.scratch.file(part),
                self.scratch.file(format!("{activity:?}-{part}")),
            )?;
        }
        let mut running = self.begin(activity, "whole")?;
        let before = running.cpu_time()?;
        running
            .fatal(&LOST)
            .step("the activity completes without a power cut");
        running.expect_within(activity.end(), PATIENCE)?;
        let time = running.cpu_time()?.saturating_sub(before);
        running.kill()?;
        self.suspended.insert(activity, time);
        Ok(time)
    }

    /// Copies files of the machine `name` to the present machine.
    fn copy_from(&self, name: &str, parts: &[&str]) -> Result<()> {
        parts.iter().try_for_each(|part| {
            copy(
                &self.scratch.file(format!("{name}-{part}")),
                &self.scratch.file(part),
            )
        })
    }

    /// The machine without the stick.
    fn installed_machine(&self) -> Machine<'_> {
        Machine::new(self.scratch)
            .disk(Disk::virtio(self.scratch.file("disk.img")))
            .network()
    }

    /// The machine for the activity: its disk, and the stick if that installs it.
    fn machine(&self, activity: Activity) -> Result<Machine<'_>> {
        if activity != Activity::Install {
            return Ok(self.installed_machine());
        }
        let [stick, _] = media()?;
        let disk = Disk::virtio(self.scratch.file("disk.img"));
        Ok(Machine::new(self.scratch)
            .disk(disk)
            .disk(Disk::usb(stick).read_only()))
    }

    /// Resumes the machine at the beginning of the activity.
    fn begin(&self, activity: Activity, log: &str) -> Result<Running> {
        let name = format!("{activity:?}");
        self.copy_from(&name, &PARTS[..2])?;
        let memory = self.scratch.file(format!("{name}-memory"));
        let mut running = self.machine(activity)?.resume(memory).start(log)?;
        if activity == Activity::Update {
            let bundle = self.web.guest_url("rayos-1.1.0.bundle");
            running.send_line(&format!("rayos-updater apply {bundle}"))?;
        }
        Ok(running)
    }

    /// Brings a machine to the beginning of the activity.
    fn prepare(&self, activity: Activity) -> Result<Running> {
        match activity {
            Activity::Update => self.start_base(),
            Activity::Trial | Activity::Commit => {
                self.activate()?;
                let mut running = self.machine(activity)?.start("prepare")?;
                running
                    .step("the guard starts the trial")
                    .expect("rayos-guard: starting slot B")?;
                if activity == Activity::Commit {
                    running
                        .step("the trial starts")
                        .expect_within(UP_NEW, PATIENCE)?;
                }
                Ok(running)
            }
            Activity::Recovery => {
                self.copy_from("base", &PARTS[..2])?;
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
                let mut running = self.machine(activity)?.start("prepare")?;
                running
                    .step("the guard starts recovery")
                    .expect("rayos-guard: starting recovery")?;
                Ok(running)
            }
            Activity::Install => {
                drop(fs::remove_file(self.scratch.file("vars.fd")));
                drop(fs::remove_file(self.scratch.file("disk.img")));
                blank_disk(&self.scratch.file("disk.img"))?;
                let mut running = self.machine(activity)?.start("prepare")?;
                running
                    .step("the installer begins to write")
                    .expect_within("RAYOS_INSTALLER:WRITE_STARTED", PATIENCE)?;
                Ok(running)
            }
        }
    }

    fn start_base(&self) -> Result<Running> {
        self.copy_from("base", &PARTS[..2])?;
        let mut running = self.installed_machine().start("update")?;
        running
            .fatal(&LOST)
            .step("the installed release starts")
            .expect(UP_OLD)?;
        running.expect_commit("a", "1.0.0")?;
        Ok(running)
    }

    /// Makes a machine on which 1.1.0 was applied and not started, once for all trials.
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
        self.copy_from("activated", &PARTS[..2])
    }

    /// Starts the machine again and waits for `next_boot`. The stick repeats an incomplete
    /// installation without a question.
    fn start_again(&self, activity: Activity, next_boot: NextBoot) -> Result<()> {
        let mut again = self.machine(activity)?.start("again")?;
        again.fatal(&LOST).step("the machine starts again");
        if activity == Activity::Install {
            let (which, _) = again.expect_any(&["RAYOS:RECOVERY", UP_OLD], PATIENCE)?;
            if which == 0 {
                again
                    .step("the stick installs again, or starts the disk")
                    .expect_within("reboot: Restarting system", PATIENCE)?;
            }
        } else {
            again.expect_within(if next_boot == NEW { UP_NEW } else { UP_OLD }, PATIENCE)?;
        }
        Ok(again.kill()?)
    }
}
