//! The exit codes of the five programs: each code that a program's help lists is provoked, and no
//! other code occurs. `docs/exit-codes.md` has the table.
//!
//! The programs run on a disk image. Codes of hardware that is not there (a machine that the boot
//! guard has not started) are those of the host of the test.

use anyhow::{Context as _, Result, ensure};
use bootctl::device::{Access, BlockDevice as _, FileDevice, SectorSize};
use bootctl::disk::Disk;
use cli::ExitStatus;
use fixtures::hostile::{HostileServer, Step};
use record::{COPY_OFFSETS, Slot};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tests::memory_machine::{FIRST, SECOND, installed, key};
use tests::project::root;

/// Name and folder of each program.
const PROGRAMS: [(&str, &str); 5] = [
    ("rayos-bundle", "bundle"),
    ("rayos-bootctl", "bootctl"),
    ("rayos-updater", "updater"),
    ("rayos-installer", "installer"),
    ("rayos-recovery", "recovery"),
];

/// Codes that a program lists and this test does not provoke, with the reason.
const NOT_PROVOKED: &[(&str, ExitStatus, &str)] = &[(
    "rayos-installer",
    ExitStatus::SlotEmptied,
    "only a disk of this machine can be lost; tests of `exit_status` return it",
)];

/// The programs, a folder with their inputs, and the codes that they returned.
struct Bench {
    programs: PathBuf,
    folder: tempfile::TempDir,
    returned: BTreeMap<&'static str, BTreeSet<u8>>,
}

impl Bench {
    /// Builds the programs and makes the inputs: bundles, keys, and `disk.img`, on which 1.0.0 runs
    /// in slot A.
    async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
        put("1.0.0.bundle", &FIRST.bundle())?;
        put("1.1.0.bundle", &SECOND.bundle())?;
        let mut damaged = SECOND.bundle();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        put("damaged.bundle", &damaged)?;
        put("release.pub", key(1).public_pem()?.as_bytes())?;
        put("foreign.pub", key(9).public_pem()?.as_bytes())?;
        put("disk.img", &installed(512).await.device.bytes())?;
        fs::create_dir(folder.path().join("variables"))?;
        Ok(Self {
            programs: build()?,
            folder,
            returned: BTreeMap::new(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `program`, which must end with `expected`.
    fn ends_with(
        &mut self,
        expected: ExitStatus,
        program: &'static str,
        arguments: &str,
    ) -> Result<()> {
        let output = self.command(program, arguments).output()?;
        self.check(expected, program, arguments, &output)
    }

    fn check(
        &mut self,
        expected: ExitStatus,
        program: &'static str,
        arguments: &str,
        output: &Output,
    ) -> Result<()> {
        let code = output.status.code();
        ensure!(
            code == Some(i32::from(expected.code())),
            "{program} {arguments}: {}, expected {} ({}): {}",
            output.status,
            expected.code(),
            expected.meaning(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        self.returned
            .entry(program)
            .or_default()
            .insert(expected.code());
        Ok(())
    }
}

/// Builds the five programs, and returns their folder.
fn build() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("target folder")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--bins"]);
    for (_, package) in PROGRAMS {
        cargo.arg(format!("--package=rayos-{package}"));
    }
    let target = folder.parent().context("target folder")?;
    let built = cargo
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .output()?;
    ensure!(
        built.status.success(),
        "cargo build: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(folder.to_owned())
}

/// The codes in the paragraph `Exit codes:` of a help text; `None` without one.
fn documented(help: &str) -> Option<BTreeSet<u8>> {
    let (_, codes) = help.split_once("Exit codes: ")?;
    let paragraph = codes.split("\n\n").next()?.replace('\n', " ");
    let statuses = ExitStatus::ALL
        .into_iter()
        .filter(|status| paragraph.contains(&format!("{} {}", status.code(), status.meaning())));
    Some(statuses.map(ExitStatus::code).collect())
}

fn bundle(bench: &mut Bench) -> Result<()> {
    use ExitStatus::{Failed, Refused, Success};
    let program = "rayos-bundle";
    bench.ends_with(Success, program, "verify 1.0.0.bundle --trust release.pub")?;
    bench.ends_with(Failed, program, "verify missing.bundle --trust release.pub")?;
    bench.ends_with(Refused, program, "verify 1.0.0.bundle --trust foreign.pub")
}

fn bootctl(bench: &mut Bench) -> Result<()> {
    use ExitStatus::{Failed, NotGuarded, NothingToDo, Refused, Success, Unavailable};
    let program = "rayos-bootctl";
    bench.ends_with(Success, program, "--disk disk.img status")?;
    bench.ends_with(Failed, program, "--disk missing.img status")?;
    bench.ends_with(NothingToDo, program, "--disk disk.img why")?;
    bench.ends_with(NotGuarded, program, "commit")?;
    let lock = lock(&bench.file("disk.img"))?;
    // An operator does not wait for an update.
    bench.ends_with(NothingToDo, program, "--disk disk.img mark-bad b")?;
    drop(lock);
    bench.ends_with(Unavailable, program, "--disk disk.img mark-bad a")?;
    // Without a record and with foreign keys, no slot is evidence for a new record.
    fs::copy(bench.file("disk.img"), bench.file("lost.img"))?;
    let state = disk(&bench.file("lost.img"))?.state()?;
    for copy in COPY_OFFSETS {
        state.write_at(copy, &[0; 4096])?;
    }
    drop(state);
    bench.ends_with(
        Refused,
        program,
        "--disk lost.img repair --trust foreign.pub",
    )
}

fn updater(bench: &mut Bench) -> Result<()> {
    use ExitStatus::{
        Damaged, Failed, NotGuarded, NothingToDo, Refused, SlotEmptied, Success, Unavailable,
    };
    let program = "rayos-updater";
    let apply = "apply --disk disk.img --booted a --trust release.pub";
    bench.ends_with(Success, program, &format!("{apply} --plan 1.1.0.bundle"))?;
    bench.ends_with(Failed, program, &format!("{apply} missing.bundle"))?;
    bench.ends_with(NothingToDo, program, &format!("{apply} 1.0.0.bundle"))?;
    let foreign = "apply --disk disk.img --booted a --trust foreign.pub 1.1.0.bundle";
    bench.ends_with(Refused, program, foreign)?;
    bench.ends_with(
        NotGuarded,
        program,
        "apply --trust release.pub 1.1.0.bundle",
    )?;
    let lock = lock(&bench.file("disk.img"))?;
    bench.ends_with(Unavailable, program, &format!("{apply} 1.1.0.bundle"))?;
    drop(lock);
    // A pipe cannot be verified before the slot is disarmed.
    let arguments = format!("{apply} --no-adaptive -");
    let output = bench
        .command(program, &arguments)
        .stdin(pipe_of(&bench.file("damaged.bundle"))?)
        .output()?;
    bench.check(SlotEmptied, program, &arguments, &output)?;
    disk(&bench.file("disk.img"))?
        .root(Slot::A)?
        .write_at(2_000_000, b"damage")?;
    bench.ends_with(
        Damaged,
        program,
        "verify-slot --disk disk.img --trust release.pub a",
    )?;
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        stopped_by(bench, signal, ExitStatus::Signal(number))?;
    }
    Ok(())
}

/// Sends `signal` to an update that waits for a server.
fn stopped_by(bench: &mut Bench, signal: Signal, expected: ExitStatus) -> Result<()> {
    let program = "rayos-updater";
    let server = HostileServer::start(|_| vec![Step::Stall])?;
    let arguments = format!(
        "apply --disk disk.img --booted a --trust release.pub {}",
        server.url("1.1.0.bundle")
    );
    let mut child = bench
        .command(program, &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The program handles signals before its first request.
    while server.asked().is_empty() {
        ensure!(
            child.try_wait()?.is_none(),
            "{program} ended before {expected:?}"
        );
        std::thread::yield_now();
    }
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("process")?;
    kill_process(pid, signal)?;
    let output = child.wait_with_output()?;
    bench.check(expected, program, &arguments, &output)
}

fn installer(bench: &mut Bench) -> Result<()> {
    use ExitStatus::{ConfirmationRequired, Failed, NothingToDo, Refused, Success, Unavailable};
    let program = "rayos-installer";
    bench.ends_with(Success, program, "")?;
    let image = "image --size 300M --layout layout.toml -o new.img --bundle";
    fs::write(
        bench.file("layout.toml"),
        "esp = \"34MiB\"\nboot = \"2MiB\"\nroot = \"8MiB\"\nrecovery = \"2MiB\"\n",
    )?;
    bench.ends_with(
        Success,
        program,
        &format!("{image} 1.0.0.bundle --trust release.pub"),
    )?;
    bench.ends_with(
        Failed,
        program,
        &format!("{image} missing.bundle --trust release.pub"),
    )?;
    bench.ends_with(
        Refused,
        program,
        &format!("{image} 1.0.0.bundle --trust foreign.pub").replace("new.img", "refused.img"),
    )?;
    let repair = "repair-esp --disk new.img --bundle 1.0.0.bundle --trust release.pub";
    bench.ends_with(NothingToDo, program, repair)?;
    // No disk has this identity, so that no disk of the host is written.
    let answers = "version = 1\ncompatible = \"test-machine\"\nerase = \"no-such-disk\"\n";
    fs::write(bench.file("attended.toml"), answers)?;
    fs::write(
        bench.file("unattended.toml"),
        format!("{answers}unattended = true\n"),
    )?;
    let apply = "apply --bundle 1.0.0.bundle --trust release.pub --answers";
    bench.ends_with(
        ConfirmationRequired,
        program,
        &format!("{apply} attended.toml"),
    )?;
    bench.ends_with(Unavailable, program, &format!("{apply} unattended.toml"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_code_is_returned_and_no_other() -> Result<()> {
    let mut bench = Bench::new().await?;
    for (program, _) in PROGRAMS {
        bench.ends_with(ExitStatus::Success, program, "--help")?;
        bench.ends_with(ExitStatus::Usage, program, "--no-such-option")?;
    }
    bundle(&mut bench)?;
    bootctl(&mut bench)?;
    updater(&mut bench)?;
    installer(&mut bench)?;
    bench.ends_with(ExitStatus::NotGuarded, "rayos-recovery", "")?;

    for (program, _) in PROGRAMS {
        let help = bench.command(program, "--help").output()?.stdout;
        let Some(documented) = documented(&String::from_utf8(help)?) else {
            ensure!(
                program == "rayos-recovery",
                "the help of {program} has no exit codes"
            );
            continue;
        };
        let mut returned = bench.returned[program].clone();
        for (name, status, _) in NOT_PROVOKED {
            if *name == program {
                ensure!(
                    returned.insert(status.code()),
                    "{program}: {status:?} is provoked"
                );
            }
        }
        ensure!(
            documented == returned,
            "{program}: its help has the codes {documented:?}, returned were {returned:?}"
        );
    }
    Ok(())
}

/// Locks the disk image, as a program that writes it does.
fn lock(image: &Path) -> Result<FileDevice> {
    Ok(FileDevice::open(image, Access::Write, SectorSize::Detect)?)
}

fn disk(image: &Path) -> Result<Disk> {
    Ok(Disk::open(Arc::new(lock(image)?))?)
}

/// The content of a file as a pipe.
fn pipe_of(file: &Path) -> Result<Stdio> {
    let cat = Command::new("cat")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(cat.stdout.context("pipe")?.into())
}
