//! Health: the checks that a release must pass before it is committed.
//!
//! A check is an executable file in a directory; they run one after the other, in the order of
//! their names. Exit code 0 is passed; 75 (`EX_TEMPFAIL` of sysexits.h) is "not yet", and the check
//! is run again until the deadline; anything else, and a time-out, is a failure at once. What a
//! check prints is kept for the event ring.

use rustix::process::{Pid, Signal};
use std::io::{self, PipeReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Exit code of a check that cannot tell yet.
pub const NOT_YET: i32 = 75;
/// How many bytes of a check's output are kept: its end.
pub const OUTPUT_MAX: usize = 3000;

const POLL: Duration = Duration::from_millis(20);
/// What a pipe holds (pipe(7)): nothing that a check wrote before it ended is further behind.
const PIPE_LEN: usize = 64 * 1024;

/// How the checks are run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directory of the checks; one that does not exist holds no check.
    pub dir: PathBuf,
    /// Within which all must have passed.
    pub deadline: Duration,
    /// What a single run of a check gets.
    pub time_out: Duration,
    /// How long to wait before a check that said "not yet" is run again.
    pub pause: Duration,
}

/// What came of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All passed.
    Passed {
        /// How many there are.
        checks: usize,
    },
    /// A check failed.
    Failed(Failure),
    /// The deadline passed before all had passed.
    DeadlinePassed(Failure),
}

/// The check that stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub check: String,
    /// What it did, in words.
    pub what: String,
    /// The end of what it printed.
    pub output: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "check {} {}", self.check, self.what)
    }
}

/// The checks in `dir`, by name. *Reads.* Files that are not executable, hidden or left by an
/// editor are passed over.
///
/// # Errors
/// What the kernel says about the directory, unless it does not exist.
pub fn checks(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let meta = std::fs::metadata(&path)?;
        let executable = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        if executable && !name.starts_with('.') && !name.ends_with('~') {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Runs all checks. *Writes* nothing by itself; `told` hears what is going on.
///
/// # Errors
/// What the kernel says about the directory. That a check cannot be started is a failure of the
/// check.
pub fn run(plan: &Plan, mut told: impl FnMut(&str)) -> io::Result<Outcome> {
    let start = Instant::now();
    let left = || {
        plan.deadline
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
    };
    let checks = checks(&plan.dir)?;
    for path in &checks {
        let check = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut last = Failure {
            check: check.clone(),
            what: "was not run".to_owned(),
            output: String::new(),
        };
        loop {
            let Some(left_now) = left() else {
                return Ok(Outcome::DeadlinePassed(last));
            };
            let (ended, output) = run_one(path, plan.time_out.min(left_now));
            let what = match ended {
                Ended::Code(0) => {
                    told(&format!("check {check} passed"));
                    break;
                }
                Ended::Code(NOT_YET) => "is not ready yet".to_owned(),
                Ended::Code(code) => format!("failed with exit code {code}"),
                Ended::Signal(signal) => format!("was ended by signal {signal}"),
                Ended::TimedOut => format!(
                    "did not end within {} s",
                    plan.time_out.min(left_now).as_secs()
                ),
                Ended::NotStarted(ref error) => format!("cannot be started: {error}"),
            };
            last = Failure {
                check: check.clone(),
                what,
                output,
            };
            told(&last.to_string());
            if !matches!(ended, Ended::Code(NOT_YET)) {
                let late = left().is_none();
                return Ok(if late {
                    Outcome::DeadlinePassed(last)
                } else {
                    Outcome::Failed(last)
                });
            }
            thread::sleep(plan.pause.min(left().unwrap_or_default()));
        }
    }
    Ok(Outcome::Passed {
        checks: checks.len(),
    })
}

enum Ended {
    Code(i32),
    Signal(i32),
    TimedOut,
    NotStarted(io::Error),
}

fn run_one(path: &Path, time_out: Duration) -> (Ended, String) {
    let (mut child, mut output) = match start(path) {
        Ok(started) => started,
        Err(error) => return (Ended::NotStarted(error), String::new()),
    };
    let ended = wait(&mut child, &mut output, time_out);
    // What it wrote is in the pipe by now, however busy the machine is.
    output.take();
    (ended, output.text())
}

/// Starts a check in a process group of its own, so that a time-out ends its children too.
fn start(path: &Path) -> io::Result<(Child, Output)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    Ok((
        command.spawn()?,
        Output {
            reader,
            end: Vec::new(),
        },
    ))
}

/// What a check prints, its end kept.
struct Output {
    reader: PipeReader,
    end: Vec<u8>,
}

impl Output {
    /// Takes what is in the pipe, without waiting for more: a child that the check left behind may
    /// hold it open, or write on without end.
    fn take(&mut self) {
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
    use std::os::unix::process::ExitStatusExt as _;
    let start = Instant::now();
    loop {
        // A check that prints a lot must not wait for room in the pipe.
        output.take();
        match child.try_wait() {
            Ok(Some(status)) => {
                let signal = || Ended::Signal(status.signal().unwrap_or_default());
                return status.code().map_or_else(signal, Ended::Code);
            }
            Ok(None) if start.elapsed() < time_out => thread::sleep(POLL),
            Ok(None) => {
                end_group(child);
                return Ended::TimedOut;
            }
            Err(error) => return Ended::NotStarted(error),
        }
    }
}

fn end_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let ended = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
    if !matches!(ended, Some(Ok(()))) && child.kill().is_err() {
        return;
    }
    // It is dead: this returns at once, and leaves no zombie.
    if child.wait().is_err() {}
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
    fn all_checks_run_in_order_and_pass() {
        let (_dir, plan) = plan(&[
            ("20-b", "true"),
            ("10-a", "echo hello"),
            (".hidden", "false"),
        ]);
        let mut told = Vec::new();
        let outcome = run(&plan, |text| told.push(text.to_owned())).unwrap();
        assert_eq!(outcome, Outcome::Passed { checks: 2 });
        assert_eq!(told, ["check 10-a passed", "check 20-b passed"]);
    }

    #[test]
    fn a_failing_check_ends_it_with_its_last_words() {
        let (_dir, plan) = plan(&[
            ("10-net", "echo no route to host >&2; exit 3"),
            ("20-never", "true"),
        ]);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("it must fail")
        };
        assert_eq!(failure.to_string(), "check 10-net failed with exit code 3");
        assert_eq!(failure.output, "no route to host\n");
    }

    #[test]
    fn the_end_of_a_long_output_is_kept_and_a_child_left_behind_is_not_waited_for() {
        let script = "yes | head -c 300000; sleep 1000 & echo $! >\"$0.pid\"; echo the end; exit 1";
        let (dir, plan) = plan(&[("10-long", script)]);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("it must fail")
        };
        assert_eq!(failure.output.len(), OUTPUT_MAX);
        assert!(failure.output.ends_with("y\nthe end\n"));
        let left = std::fs::read_to_string(dir.path().join("10-long.pid")).unwrap();
        let left = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }

    #[test]
    fn not_yet_is_asked_again() {
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
    fn not_ready_by_the_deadline_is_named() {
        let (_dir, mut plan) = plan(&[("10-never", "echo waiting; exit 75")]);
        plan.deadline = Duration::from_millis(300);
        let Outcome::DeadlinePassed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("it must pass")
        };
        assert_eq!(failure.check, "10-never");
    }

    #[test]
    fn a_hanging_check_is_ended_with_its_children() {
        let (_dir, mut plan) = plan(&[("10-hang", "echo begun; sleep 1000 & sleep 1000")]);
        plan.time_out = Duration::from_millis(200);
        let Outcome::Failed(failure) = run(&plan, |_| ()).unwrap() else {
            panic!("it must fail")
        };
        assert_eq!(failure.to_string(), "check 10-hang did not end within 0 s");
    }

    #[test]
    fn no_directory_is_no_check_and_a_broken_one_is_a_failure() {
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
