//! The frame of every scenario: its folder, the machine that it begins with, a web server with the
//! sample releases, and the markers that a start of the machine prints. A scenario itself has only
//! its own steps.

use crate::installed::{Installed, LOST, answers_with, make_stick};
use anyhow::{Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::fs;
use std::path::{Path, PathBuf};
use tests::{Sample, WebServer, partition};

/// Runs `body` with a folder of its own, `target/qemu/NAME`. The folder is removed if it returns
/// `Ok`; otherwise it is kept, and the error names the console's log in it.
pub(crate) fn scenario(name: &str, body: impl FnOnce(&Scenario) -> Result<()>) -> Result<()> {
    let sample = Sample::ready()?;
    let scenario = Scenario {
        scratch: Scratch::new(name)?,
        web: WebServer::start(sample.folder())?,
        sample,
    };
    let result = body(&scenario);
    scenario.scratch.finish(result)
}

/// What a scenario works with.
pub(crate) struct Scenario {
    pub(crate) scratch: Scratch,
    pub(crate) sample: Sample,
    /// Serves the sample's folder.
    pub(crate) web: WebServer,
}

impl Scenario {
    /// A file in the scenario's folder. *Pure.*
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.file(name)
    }

    /// The image of the machine's disk. *Pure.*
    pub(crate) fn image(&self) -> PathBuf {
        self.file("disk.img")
    }

    /// The machine's disk. *Pure.*
    pub(crate) fn disk(&self) -> Disk {
        Disk::virtio(self.image())
    }

    /// Copies the installed machine (1.0.0 in slot A, committed) into the folder. *Writes.*
    pub(crate) fn copy_installed(&self) -> Result<()> {
        Installed::ready()?.copy_to(&self.scratch)
    }

    /// Returns the machine of the folder: its disk and a network card. *Pure.*
    pub(crate) fn machine(&self) -> Machine<'_> {
        Machine::new(&self.scratch).disk(self.disk()).network()
    }

    /// Switches `machine` on. Signs that a boot or an installation failed end every wait.
    pub(crate) fn start(&self, machine: Machine<'_>, name: &str) -> Result<Running> {
        let mut running = machine.start(name)?;
        running.fatal(&LOST);
        Ok(running)
    }

    /// Copies the installed machine, switches it on, and waits for its shell.
    pub(crate) fn start_installed(&self) -> Result<Running> {
        self.copy_installed()?;
        let mut running = self.start(self.machine(), "installed")?;
        running.step("the installed release starts");
        running.expect_up("a", "1.0.0")?;
        running.expect_commit("a", "1.0.0")?;
        Ok(running)
    }

    /// The URL of the bundle of `version`, as the guest reaches it. *Pure.*
    pub(crate) fn bundle_url(&self, version: &str) -> String {
        self.web.guest_url(&format!("rayos-{version}.bundle"))
    }

    /// The command that applies `version` in the guest. *Pure.*
    pub(crate) fn apply_command(&self, version: &str) -> String {
        format!("rayos-updater apply {}", self.bundle_url(version))
    }

    /// Applies `version` in the guest and returns the updater's output.
    pub(crate) fn apply(&self, running: &mut Running, version: &str) -> Result<String> {
        running.step(format!("{version} is applied"));
        Ok(running.check(&self.apply_command(version))?)
    }

    /// Makes a stick that installs `bundle` with the sample's answers and `more` lines. *Writes.*
    pub(crate) fn stick(&self, name: &str, bundle: &Path, more: &str) -> Result<Disk> {
        let answers = self.file("install.toml");
        fs::write(&answers, answers_with(more)?)?;
        let stick = self.file(name);
        make_stick(&self.sample, bundle, &answers, &stick)?;
        Ok(Disk::usb(stick).read_only())
    }
}

/// Steps that many scenarios share: commands that must fail, and the markers that a start of the
/// machine prints.
pub(crate) trait Steps {
    /// Runs `command`, which must fail with `code` and print all of `words`.
    fn check_fails(&mut self, command: &str, code: i32, words: &[&str]) -> Result<()>;
    /// Restarts the guest and waits for [`Steps::expect_start`].
    fn reboot_into(&mut self, slot: &str, version: &str, state: &str) -> Result<()>;
    /// Waits until the guard starts `slot` with `version`. `state` begins with what the guard
    /// prints in parentheses, `"trial, 2 tries left"` or less.
    fn expect_guard(&mut self, slot: &str, version: &str, state: &str) -> Result<()>;
    /// Waits until the release has started its services.
    fn expect_up(&mut self, slot: &str, version: &str) -> Result<()>;
    /// Waits until the release has committed and the shell is ready. From then on the console has
    /// only the output of commands; until then the health checks write to it.
    fn expect_commit(&mut self, slot: &str, version: &str) -> Result<()>;
    /// All of these.
    fn expect_start(&mut self, slot: &str, version: &str, state: &str) -> Result<()>;
}

impl Steps for Running {
    fn check_fails(&mut self, command: &str, code: i32, words: &[&str]) -> Result<()> {
        let shell = self.run(command)?;
        let output = &shell.output;
        ensure!(
            shell.code == code,
            "{command}: exit code {}, expected {code}: {output}",
            shell.code
        );
        for words in words {
            ensure!(
                output.contains(words),
                "{command}: expected \"{words}\": {output}"
            );
        }
        Ok(())
    }

    fn reboot_into(&mut self, slot: &str, version: &str, state: &str) -> Result<()> {
        self.step(format!("{version} starts in slot {slot} ({state})"))
            .send_line("reboot")?;
        self.expect_start(slot, version, state)
    }

    fn expect_guard(&mut self, slot: &str, version: &str, state: &str) -> Result<()> {
        let slot = slot.to_uppercase();
        let line = format!("rayos-guard: starting slot {slot}, release {version} ({state}");
        self.expect(&line)?;
        Ok(())
    }

    fn expect_up(&mut self, slot: &str, version: &str) -> Result<()> {
        self.expect(&format!("RAYOS:UP version={version} slot={slot}"))?;
        Ok(())
    }

    fn expect_commit(&mut self, slot: &str, version: &str) -> Result<()> {
        let line = format!("RAYOS_BOOTCTL:COMMITTED slot={slot} version={version}");
        self.expect(&line)?;
        self.send_line("")?;
        Ok(self.expect_shell()?)
    }

    fn expect_start(&mut self, slot: &str, version: &str, state: &str) -> Result<()> {
        self.expect_guard(slot, version, state)?;
        self.expect_up(slot, version)?;
        self.expect_commit(slot, version)
    }
}

/// Digests of the partitions that neither an update of slot B nor a repair of the ESP may change.
pub(crate) fn kept_partitions(image: &Path) -> Result<Vec<String>> {
    ["boot-a", "root-a", "recovery"]
        .iter()
        .map(|name| Ok(partition(image, name)?.digest(image)?))
        .collect()
}
