//! Health: the checks that a release must pass before it is committed.
//!
//! A check is an executable file in a folder. Checks run one after the other, in the order of their
//! names. Exit code 0 means passed. 75 (`EX_TEMPFAIL` of sysexits.h) means not ready yet: the check
//! runs again until the deadline. Any other code, and a time-out, is a failure at once. The output
//! of a failed check goes into the event ring.

use rustix::process::{Pid, Signal};
use std::io::{self, PipeReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Exit code of a check that is not ready yet.
pub const NOT_YET: i32 = 75;
/// Number of bytes of a check's output that are kept: its last ones.
pub const OUTPUT_MAX: usize = 3000;

const POLL: Duration = Duration::from_millis(20);
/// Capacity of a pipe (pipe(7)). What a check wrote before it ended is within this many bytes.
const PIPE_LEN: usize = 64 * 1024;

/// How the checks are run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder of the checks. A missing folder holds no checks.
    pub dir: PathBuf,
    /// Time limit for all checks together.
    pub deadline: Duration,
    /// Time limit for a single run of a check.
    pub time_out: Duration,
    /// Pause before a check that was not ready runs again.
    pub pause: Duration,
}

/// Result of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All passed.
    Passed {
        /// Number of checks.
        checks: usize,
    },
    /// A check failed.
    Failed(FailedCheck),
    /// The deadline passed before all checks had passed.
    DeadlinePassed(FailedCheck),
}

/// The check that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Its file name.
    pub check: String,
    /// What it did, in words that follow its name.
    pub what: String,
    /// The end of its output.
    pub output: String,
}

impl std::fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "check {} {}", self.check, self.what)
    }
}

/// Returns the checks in `dir`, in the order of their names. *Reads.* Files that are hidden, not
/// executable or backups of an editor are skipped.
///
/// # Errors
/// The error of reading the folder, unless it is missing.
pub fn checks(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = file_name(&path);
        let metadata = std::fs::metadata(&path)?;
        let is_executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        if is_executable && !name.starts_with('.') && !name.ends_with('~') {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Runs all checks. *Reads*; what the checks do is theirs. `report` receives a line for each run of
/// a check.
///
/// # Errors
/// The error of reading the folder. A check that cannot be started is a failed check.
pub fn run(plan: &Plan, mut report: impl FnMut(&str)) -> io::Result<Outcome> {
    let clock = Clock {
        start: Instant::now(),
        deadline: plan.deadline,
    };
    let checks = checks(&plan.dir)?;
    for path in &checks {
        if let Some(failed) = run_until_ready(path, plan, &clock, &mut report) {
            return Ok(match clock.left() {
                Some(_) => Outcome::Failed(failed),
                None => Outcome::DeadlinePassed(failed),
            });
        }
    }
    Ok(Outcome::Passed {
        checks: checks.len(),
    })
}

/// The deadline of a run.
struct Clock {
    start: Instant,
    deadline: Duration,
}

impl Clock {
    /// Returns the time left; `None` if there is none.
    fn left(&self) -> Option<Duration> {
        self.deadline
            .checked_sub(self.start.elapsed())
            .filter(|left| !left.is_zero())
    }
}

/// Runs one check again and again until it is ready. Returns how it failed; `None` if it passed.
fn run_until_ready(
    path: &Path,
    plan: &Plan,
    clock: &Clock,
    report: &mut impl FnMut(&str),
) -> Option<FailedCheck> {
    let check = file_name(path);
    let mut failed = FailedCheck {
        check: check.clone(),
        what: "was not run".to_owned(),
        output: String::new(),
    };
    while let Some(left) = clock.left() {
        let time_out = plan.time_out.min(left);
        let (ended, output) = run_once(path, time_out);
        if matches!(ended, Ended::Code(0)) {
            report(&format!("check {check} passed"));
            return None;
        }
        failed = FailedCheck {
            what: ended.words(time_out),
            output,
            ..failed
        };
        report(&failed.to_string());
        if !matches!(ended, Ended::Code(NOT_YET)) {
            break;
        }
        thread::sleep(plan.pause.min(clock.left().unwrap_or_default()));
    }
    Some(failed)
}

/// How a run of a check ended.
enum Ended {
    Code(i32),
    Signal(i32),
    TimedOut,
    NotStarted(io::Error),
}

impl Ended {
    /// Returns words that follow the name of the check.
    fn words(&self, time_out: Duration) -> String {
        match self {
            Self::Code(NOT_YET) => "is not ready yet".to_owned(),
            Self::Code(code) => format!("failed with exit code {code}"),
            Self::Signal(signal) => format!("was ended by signal {signal}"),
            Self::TimedOut => format!("did not end within {} s", time_out.as_secs()),
            Self::NotStarted(error) => format!("cannot be started: {error}"),
        }
    }
}

fn run_once(path: &Path, time_out: Duration) -> (Ended, String) {
    let (mut child, mut output) = match start(path) {
        Ok(started) => started,
        Err(error) => return (Ended::NotStarted(error), String::new()),
    };
    let ended = wait(&mut child, &mut output, time_out);
    // All that it wrote is in the pipe by now, however busy the machine is.
    output.drain();
    (ended, output.text())
}

/// Starts a check in a process group of its own, so that a time-out ends its children, too.
fn start(path: &Path) -> io::Result<(Child, Output)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let child = Command::new(path)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    let output = Output {
        reader,
        end: Vec::new(),
    };
    Ok((child, output))
}

/// The output of a check, of which only the end is kept.
struct Output {
    reader: PipeReader,
    end: Vec<u8>,
}

impl Output {
    /// Reads what is in the pipe without waiting for more: a process that the check left behind may
    /// hold the pipe open, or write without end.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..PIPE_LEN / buffer.len() {
            match self.reader.read(&mut buffer) {
                Ok(count @ 1..) => self.end.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
            let excess = self.end.len().saturating_sub(OUTPUT_MAX);
            self.end.drain(..excess);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.end).into_owned()
    }
}

fn wait(child: &mut Child, output: &mut Output, time_out: Duration) -> Ended {
    let start = Instant::now();
    loop {
        // A check that prints a lot must not wait for room in the pipe.
        output.drain();
        match child.try_wait() {
            Ok(Some(status)) => {
                let signal = || Ended::Signal(status.signal().unwrap_or_default());
                return status.code().map_or_else(signal, Ended::Code);
            }
            Ok(None) if start.elapsed() < time_out => thread::sleep(POLL),
            Ok(None) => {
                kill_group(child);
                return Ended::TimedOut;
            }
            Err(error) => return Ended::NotStarted(error),
        }
    }
}

fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let killed = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
    if !matches!(killed, Some(Ok(()))) && child.kill().is_err() {
        return;
    }
    // The process is dead: this returns at once, and leaves no zombie.
    child.wait().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scripts: &[(&str, &str)]) -> (tempfile::TempDir, Plan) {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let plan = Plan {
            dir: dir.path().to_owned(),
            deadline: Duration::from_secs(60),
            time_out: Duration::from_secs(30),
            pause: Duration::from_millis(1),
        };
        (dir, plan)
    }

    #[test]
    fn checks_run_in_the_order_of_their_names() {
        let (_dir, plan) = plan(&[
            ("20-b", "true"),
            ("10-a", "echo hello"),
            (".hidden", "false"),
        ]);
        let mut lines = Vec::new();
        let outcome = run(&plan, |text| lines.push(text.to_owned())).unwrap();
        assert_eq!(outcome, Outcome::Passed { checks: 2 });
        assert_eq!(lines, ["check 10-a passed", "check 20-b passed"]);
    }

    #[test]
    fn a_failed_check_ends_the_run_and_its_output_is_kept() {
        let (_dir, plan) = plan(&[
            ("10-net", "echo no route to host >&2; exit 3"),
            ("20-never", "true"),
        ]);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("expected a failed check")
        };
        assert_eq!(failure.to_string(), "check 10-net failed with exit code 3");
        assert_eq!(failure.output, "no route to host\n");
    }

    #[test]
    fn of_a_long_output_the_end_is_kept_without_waiting_for_a_background_process() {
        let script = "yes | head -c 300000; sleep 1000 & echo $! >\"$0.pid\"; echo the end; exit 1";
        let (dir, plan) = plan(&[("10-long", script)]);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("expected a failed check")
        };
        assert_eq!(failure.output.len(), OUTPUT_MAX);
        assert!(failure.output.ends_with("y\nthe end\n"));
        let left = std::fs::read_to_string(dir.path().join("10-long.pid")).unwrap();
        let left = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }

    #[test]
    fn a_check_that_is_not_ready_runs_again() {
        let (dir, plan) = plan(&[(
            "10-late",
            "n=$(cat \"$0.n\" 2>/dev/null); echo x$n >\"$0.n\"; [ \"$n\" = xx ] || exit 75",
        )]);
        assert_eq!(run(&plan, |_| ()).unwrap(), Outcome::Passed { checks: 1 });
        assert_eq!(
            std::fs::read_to_string(dir.path().join("10-late.n")).unwrap(),
            "xxx\n"
        );
    }

    #[test]
    fn the_check_that_is_not_ready_at_the_deadline_is_named() {
        let (_dir, mut plan) = plan(&[("10-never", "echo waiting; exit 75")]);
        plan.deadline = Duration::from_millis(300);
        let Outcome::DeadlinePassed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("expected a passed deadline")
        };
        assert_eq!(failure.check, "10-never");
    }

    #[test]
    fn a_hanging_check_is_killed_with_its_children() {
        let (_dir, mut plan) = plan(&[("10-hang", "echo begun; sleep 1000 & sleep 1000")]);
        plan.time_out = Duration::from_millis(200);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("expected a failed check")
        };
        assert_eq!(failure.to_string(), "check 10-hang did not end within 0 s");
    }

    #[test]
    fn a_missing_folder_passes_and_a_check_that_cannot_start_fails() {
        let (dir, mut plan) = plan(&[]);
        assert_eq!(run(&plan, |_| ()).unwrap(), Outcome::Passed { checks: 0 });
        let path = dir.path().join("10-broken");
        std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(run(&plan, |_| ()).unwrap(), Outcome::Failed(_)));
        plan.dir = dir.path().join("none");
        assert_eq!(run(&plan, |_| ()).unwrap(), Outcome::Passed { checks: 0 });
    }
}
