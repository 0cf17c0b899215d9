//! Health: the checks that a release must pass before it is committed.
//!
//! A check is an executable file in a folder. Checks run one after the other, in the order of their
//! names. Exit code 0 means passed. 75 (`EX_TEMPFAIL` of sysexits.h) means not ready yet: the check
//! runs again until the deadline. Any other code, and a time-out, is a failure at once. The output
//! of a failed check goes into the event ring.

use super::checks::{CheckFiles, file_name};
use super::process::{Ended, NOT_YET, run_once};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

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

/// Runs all checks. *Reads*; what the checks do is theirs. `report` receives a line for each file
/// that is passed over, and for each run of a check.
///
/// A check that cannot be started is a failed check, and so is a folder that cannot be read.
pub fn run(plan: &Plan, mut report: impl FnMut(&str)) -> Outcome {
    let clock = Clock {
        start: Instant::now(),
        deadline: plan.deadline,
    };
    let files = match CheckFiles::read(&plan.dir) {
        Ok(files) => files,
        Err(error) => {
            return Outcome::Failed(FailedCheck {
                check: plan.dir.display().to_string(),
                what: format!("is not a folder of checks: {error}"),
                output: String::new(),
            });
        }
    };
    for name in &files.passed_over {
        report(&format!("not a check: {name}"));
    }
    for path in &files.checks {
        if let Some(failed) = run_until_ready(path, plan, &clock, &mut report) {
            return match clock.left() {
                Some(_) => Outcome::Failed(failed),
                None => Outcome::DeadlinePassed(failed),
            };
        }
    }
    Outcome::Passed {
        checks: files.checks.len(),
    }
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

#[cfg(test)]
mod tests {
    use super::super::process::OUTPUT_MAX;
    use super::*;
    use rustix::process::{Pid, Signal};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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
        let outcome = run(&plan, |text| lines.push(text.to_owned()));
        assert_eq!(outcome, Outcome::Passed { checks: 2 });
        assert_eq!(lines, ["check 10-a passed", "check 20-b passed"]);
    }

    #[test]
    fn a_failed_check_ends_the_run_and_its_output_is_kept() {
        let (_dir, plan) = plan(&[
            ("10-net", "echo no route to host >&2; exit 3"),
            ("20-never", "true"),
        ]);
        let Outcome::Failed(failure) = run(&plan, |_| ()) else {
            panic!("expected a failed check")
        };
        assert_eq!(failure.to_string(), "check 10-net failed with exit code 3");
        assert_eq!(failure.output, "no route to host\n");
    }

    #[test]
    fn of_a_long_output_the_end_is_kept_without_waiting_for_a_background_process() {
        let script = "yes | head -c 300000; sleep 1000 & echo $! >\"$0.pid\"; echo the end; exit 1";
        let (dir, plan) = plan(&[("10-long", script)]);
        let Outcome::Failed(failure) = run(&plan, |_| ()) else {
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
        assert_eq!(run(&plan, |_| ()), Outcome::Passed { checks: 1 });
        assert_eq!(
            std::fs::read_to_string(dir.path().join("10-late.n")).unwrap(),
            "xxx\n"
        );
    }

    #[test]
    fn the_check_that_is_not_ready_at_the_deadline_is_named() {
        let (_dir, mut plan) = plan(&[("10-never", "echo waiting; exit 75")]);
        plan.deadline = Duration::from_millis(300);
        let Outcome::DeadlinePassed(failure) = run(&plan, |_| ()) else {
            panic!("expected a passed deadline")
        };
        assert_eq!(failure.check, "10-never");
    }

    #[test]
    fn a_hanging_check_is_killed_with_its_children() {
        let (_dir, mut plan) = plan(&[("10-hang", "echo begun; sleep 1000 & sleep 1000")]);
        plan.time_out = Duration::from_millis(200);
        let Outcome::Failed(failure) = run(&plan, |_| ()) else {
            panic!("expected a failed check")
        };
        assert_eq!(failure.to_string(), "check 10-hang did not end within 0 s");
    }

    /// Where no control group can be made, its processes can escape; then there is nothing to test.
    #[test]
    fn a_process_that_left_the_session_of_a_hanging_check_is_killed() {
        if super::super::cgroup::Cgroup::enter()
            .and_then(|group| group.leave())
            .is_none()
        {
            return;
        }
        let script = "setsid sleep 1000 & echo $! >\"$0.pid\"; sleep 1000";
        let (dir, mut plan) = plan(&[("10-hang", script)]);
        plan.time_out = Duration::from_secs(1);
        assert!(failure(&plan).contains("did not end within 1 s"));
        let pid = std::fs::read_to_string(dir.path().join("10-hang.pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // A zombie until its new parent has waited for it.
        let is_gone = || match std::fs::read_to_string(&stat) {
            Ok(stat) => stat.contains(") Z") || stat.contains(") X"),
            Err(_) => true,
        };
        while !is_gone() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_missing_folder_passes_and_a_check_that_cannot_start_fails() {
        let (dir, mut plan) = plan(&[]);
        assert_eq!(run(&plan, |_| ()), Outcome::Passed { checks: 0 });
        let path = dir.path().join("10-broken");
        std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(run(&plan, |_| ()), Outcome::Failed(_)));
        plan.dir = dir.path().join("none");
        assert_eq!(run(&plan, |_| ()), Outcome::Passed { checks: 0 });
    }

    /// The words of the failure, which must be one.
    fn failure(plan: &Plan) -> String {
        match run(plan, |_| ()) {
            Outcome::Failed(failed) => failed.to_string(),
            other => panic!("expected a failed check, got {other:?}"),
        }
    }

    #[test]
    fn a_link_to_nothing_to_itself_or_through_a_file_fails_by_name() {
        for (name, target, words) in [
            ("05-old", "/gone", "No such file"),
            ("06-loop", "06-loop", "Too many levels"),
            ("07-file", "file.bak/x", "Not a directory"),
        ] {
            let (dir, plan) = plan(&[("10-fine", "true"), ("file.bak", "true")]);
            symlink(target, dir.path().join(name)).unwrap();
            let failed = failure(&plan);
            assert!(failed.starts_with(&format!("check {name} cannot be started: ")));
            assert!(failed.contains(words), "{failed}");
        }
    }

    #[test]
    fn a_script_with_windows_line_ends_and_one_that_is_no_program_fail_by_name() {
        for (bytes, words) in [
            (
                b"#!/bin/sh\r\nexit 0\r\n".as_slice(),
                "its first line ends with CR LF",
            ),
            (b"\x7fELF".as_slice(), "cannot be started: "),
        ] {
            let (dir, plan) = plan(&[("30-odd", "true")]);
            std::fs::write(dir.path().join("30-odd"), bytes).unwrap();
            let failed = failure(&plan);
            assert!(
                failed.starts_with("check 30-odd cannot be started: "),
                "{failed}"
            );
            assert!(failed.contains(words), "{failed}");
        }
    }

    #[test]
    fn a_folder_that_is_a_file_or_a_link_to_nothing_is_a_failure() {
        let (dir, mut plan) = plan(&[("file", "true")]);
        symlink("/gone", dir.path().join("link")).unwrap();
        for name in ["file", "link"] {
            plan.dir = dir.path().join(name);
            let failed = failure(&plan);
            assert!(
                failed.contains(&format!("{name} is not a folder of checks: ")),
                "{failed}"
            );
        }
    }

    #[test]
    fn files_that_are_no_checks_are_named() {
        let scripts = [
            ("10-a", "true"),
            ("10-a.rpmsave", "false"),
            ("10-a.dpkg-old", "false"),
        ];
        let (dir, plan) = plan(&scripts);
        std::fs::write(dir.path().join("README"), "text").unwrap();
        std::fs::create_dir(dir.path().join("more")).unwrap();
        let mut lines = Vec::new();
        let outcome = run(&plan, |text| lines.push(text.to_owned()));
        assert_eq!(outcome, Outcome::Passed { checks: 1 });
        let expected = [
            "not a check: 10-a.dpkg-old (another version of a file)",
            "not a check: 10-a.rpmsave (another version of a file)",
            "not a check: README (not executable)",
            "not a check: more (a folder)",
            "check 10-a passed",
        ];
        assert_eq!(lines, expected);
    }
}
