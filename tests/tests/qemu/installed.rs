//! The machine that scenarios begin with: installed from the stick, started once, committed. It is
//! made once for a run of the tests, by whichever scenario is first.

use anyhow::{Context as _, Result};
use qemu::{Disk, Machine, Running, Scratch, project_folder};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::Sample;

/// Size of the machine's disk: the sample's small layout, and something for the data partition.
const DISK_LEN: u64 = 400 << 20;

/// What shows that the guard gave everything up, the kernel is lost, or an installation failed.
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
    /// The machine of this run; made if it is not there yet (a minute or two).
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
            make(&sample, Scratch::at(folder.clone())?)?;
            File::create(folder.join("done"))?;
        }
        Ok(Self { sample, folder })
    }

    /// A file of it: `installed.img` and `installed.fd` (before the first boot), `disk.img` and
    /// `vars.fd` (committed), `install.log` and `first.log` (the consoles), `install.writes` (what
    /// the installation did to the disk).
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A copy in `scratch`, as `disk.img` and `vars.fd`.
    pub(crate) fn copy_to(&self, scratch: &Scratch) -> Result<()> {
        for name in ["disk.img", "vars.fd"] {
            copy(&self.file(name), &scratch.file(name))?;
        }
        Ok(())
    }

    /// Copies the machine to `scratch`, switches it on, and waits for its shell.
    pub(crate) fn start(&self, scratch: &Scratch) -> Result<Running> {
        self.copy_to(scratch)?;
        let mut machine = machine(scratch).start("update")?;
        machine
            .step("the installed release comes up")
            .fatal(&LOST)
            .expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut machine, "a", "1.0.0")?;
        Ok(machine)
    }
}

/// Waits until the release has committed and the shell listens: from then on nothing but what is
/// asked for comes to the console, where until then the health checks write.
pub(crate) fn settled(machine: &mut Running, slot: &str, version: &str) -> Result<()> {
    machine.expect(&format!(
        "RAYOS_BOOTCTL:COMMITTED slot={slot} version={version}"
    ))?;
    machine.send_line("")?;
    Ok(machine.expect_shell()?)
}

/// The machine in `scratch`: one disk, a network card.
pub(crate) fn machine(scratch: &Scratch) -> Machine<'_> {
    Machine::new(scratch)
        .disk(Disk::virtio(scratch.file("disk.img")))
        .network()
}

/// A blank disk.
pub(crate) fn blank_disk(path: &Path) -> Result<()> {
    Ok(File::create(path)?.set_len(DISK_LEN)?)
}

/// Copies a file, holes staying holes.
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

/// The installation media, the stick and the ISO: as they are where the caller made the sample,
/// else made or brought up to date.
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

/// The sample's answers file.
pub(crate) fn sample_answers() -> PathBuf {
    project_folder().join("tests/sample/install.toml")
}

/// Makes a stick of a bundle and answers, by the sample's own program.
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

/// Installs from the stick, then starts the machine without it until it has committed.
fn make(_sample: &Sample, mut scratch: Scratch) -> Result<()> {
    let [stick, _] = media()?;
    // Kept even when it fails: the failure names its logs.
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

    let mut machine = self::machine(&scratch).start("first")?;
    machine
        .fatal(&LOST)
        .step("the guard starts slot A on trial")
        .expect("rayos-guard: starting slot A, release 1.0.0")?;
    machine
        .step("the first release comes up")
        .expect("RAYOS:UP version=1.0.0 slot=a")?;
    machine
        .step("health passes")
        .expect("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0")?;
    machine.power_off()?;
    Ok(())
}

/// Waits through an installation without questions, until the machine restarts.
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

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| {
        text.parse().with_context(|| format!("{name}={text}"))
    })
}

/// One run of the tests: nextest names it, and starts a process for each scenario; `cargo test` has
/// one process.
fn run_id() -> String {
    std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| format!("process-{}", std::process::id()))
}

/// Reads a text file, naming it in the error.
pub(crate) fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
