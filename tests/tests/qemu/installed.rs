//! The machine that most scenarios begin with: installed from the stick, started once, committed.
//! The first scenario of a run makes it; the others copy its files.

use crate::scenario::Steps as _;
use anyhow::{Context as _, Result};
use qemu::{Disk, Machine, Running, Scratch, project_folder};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::Sample;

/// Size of the machine's disk: the sample's small layout, and something for the data partition.
const DISK_LEN: u64 = 400 << 20;

/// Signs on the console that a boot or an installation failed.
pub(crate) const LOST: [&str; 4] = [
    "Kernel panic",
    "RAYOS:INITRAMFS_FAILED",
    "RAYOS_INSTALLER:FAILED",
    "rayos-guard: nothing can be started",
];

/// An installed machine, as files.
pub(crate) struct Installed {
    pub(crate) sample: Sample,
    folder: PathBuf,
}

impl Installed {
    /// Returns the machine of this run. Makes it if it does not exist (one or two minutes).
    pub(crate) fn ready() -> Result<Self> {
        let sample = Sample::ready()?;
        let home = project_folder().join("target/qemu/installed");
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join("lock"))?;
        lock.lock()?;
        let folder = home.join(run_id());
        if !folder.join("done").exists() {
            for old in fs::read_dir(&home)?
                .flatten()
                .filter(|old| old.path().is_dir())
            {
                fs::remove_dir_all(old.path())?;
            }
            make(Scratch::at(folder.clone())?)?;
            File::create(folder.join("done"))?;
        }
        Ok(Self { sample, folder })
    }

    /// A file of the machine: `installed.img` and `installed.fd` (before the first boot),
    /// `disk.img` and `vars.fd` (committed), `install.log` and `first.log` (the consoles),
    /// `install.writes` (the log of the installation's writes). *Pure.*
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Copies the committed machine to `scratch`, as `disk.img` and `vars.fd`. *Writes.*
    pub(crate) fn copy_to(&self, scratch: &Scratch) -> Result<()> {
        for name in ["disk.img", "vars.fd"] {
            copy(&self.file(name), &scratch.file(name))?;
        }
        Ok(())
    }
}

/// Creates a blank disk. *Writes.*
pub(crate) fn blank_disk(path: &Path) -> Result<()> {
    Ok(File::create(path)?.set_len(DISK_LEN)?)
}

/// Copies a file and keeps its holes. *Writes.*
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let done = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .status()?;
    anyhow::ensure!(
        done.success(),
        "cp {} {}: {done}",
        from.display(),
        to.display()
    );
    Ok(())
}

/// Returns the installation media, the stick and the ISO. Makes or updates them unless
/// `RAYOS_SAMPLE` names a sample that is ready.
pub(crate) fn media() -> Result<[PathBuf; 2]> {
    if std::env::var_os("RAYOS_SAMPLE").is_none() {
        let made =
            Command::new(project_folder().join("scripts/build-installer-media.sh")).output()?;
        let said = String::from_utf8_lossy(&made.stderr);
        anyhow::ensure!(
            made.status.success(),
            "scripts/build-installer-media.sh: {}: {said}",
            made.status
        );
    }
    Ok([
        project_folder().join("build/rayos-installer-usb.img"),
        project_folder().join("build/rayos-installer.iso"),
    ])
}

/// Returns the sample's answers with the lines `more` in the section that may have them. *Reads.*
pub(crate) fn answers_with(more: &str) -> Result<String> {
    let answers = text(&project_folder().join("tests/sample/install.toml"))?;
    let unattended = "unattended = true";
    Ok(answers.replace(unattended, &format!("{unattended}\n{more}")))
}

/// Makes a stick that installs `bundle` with `answers`, by the sample's own program. *Writes.*
pub(crate) fn make_stick(sample: &Sample, bundle: &Path, answers: &Path, out: &Path) -> Result<()> {
    let mut installer = Command::new(sample.program("rayos-installer"));
    installer
        .arg("media")
        .arg("--bundle")
        .arg(bundle)
        .arg("--trust")
        .arg(sample.file("trust.toml"));
    let made = installer
        .arg("--answers")
        .arg(answers)
        .arg("--output")
        .arg(out)
        .output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    anyhow::ensure!(
        made.status.success(),
        "rayos-installer media: {}: {said}",
        made.status
    );
    Ok(())
}

/// Installs from the stick, then starts the machine without it and waits until it has committed.
fn make(mut scratch: Scratch) -> Result<()> {
    let [stick, _] = media()?;
    // Kept on failure, too: the failure names its logs.
    scratch.keep();
    let disk = scratch.file("disk.img");
    blank_disk(&disk)?;
    let stick = Disk::usb(stick).read_only();
    let recorded = Disk::virtio(&disk).log_writes(scratch.file("install.writes"));
    let mut machine = Machine::new(&scratch)
        .disk(recorded)
        .disk(stick)
        .start("install")?;
    install(&mut machine)?;
    machine.power_off()?;
    copy(&disk, &scratch.file("installed.img"))?;
    copy(&scratch.file("vars.fd"), &scratch.file("installed.fd"))?;

    let mut machine = Machine::new(&scratch)
        .disk(Disk::virtio(&disk))
        .network()
        .start("first")?;
    machine
        .fatal(&LOST)
        .step("the first release starts on trial")
        .expect_start("a", "1.0.0", "trial")?;
    machine.power_off()?;
    Ok(())
}

/// Waits for the steps of an unattended installation, until the machine restarts.
pub(crate) fn install(machine: &mut Running) -> Result<()> {
    machine
        .fatal(&LOST)
        .step("the guard starts recovery from the medium")
        .expect("rayos-guard: starting recovery")?;
    machine.step("recovery comes up").expect("RAYOS:RECOVERY")?;
    machine
        .step("the installer begins")
        .expect("RAYOS_INSTALLER:STARTED")?;
    machine
        .step("the disk is chosen")
        .expect("RAYOS_INSTALLER:WRITE_STARTED disk=/dev/vda")?;
    machine
        .step("the release is written")
        .expect("RAYOS_INSTALLER:ACTIVATED version=1.0.0")?;
    machine
        .step("the installation ends")
        .expect("RAYOS_INSTALLER:COMPLETE")?;
    machine
        .step("the machine restarts")
        .expect("reboot: Restarting system")?;
    Ok(())
}

/// Returns the number in the environment variable `name`, or `otherwise`.
pub(crate) fn setting(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| {
        text.parse().with_context(|| format!("{name}={text}"))
    })
}

/// The identity of this run of the tests. nextest starts a process for each scenario and names the
/// run; `cargo test` has one process.
fn run_id() -> String {
    std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| format!("process-{}", std::process::id()))
}

/// Reads a text file; the error names it.
pub(crate) fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
