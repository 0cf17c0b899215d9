//! A machine that is on: its console, its shell, its switches.

use crate::Failure;
use crate::console::{Console, Waited};
use crate::effort;
use crate::failure::Scene;
use crate::qmp::Qmp;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a step may take where nothing else is said. Under translation on a busy machine
/// everything takes ten times as long as it should; `RAYOS_PATIENCE` (a number) multiplies all
/// limits.
const LIMIT: Duration = Duration::from_secs(180);

/// Lines of the console that a failure shows.
const TAIL: usize = 40;

/// A machine that uses less than a twenty-fifth of this has nothing to do: its clock ticks.
const IDLE: Duration = Duration::from_secs(2);

/// Between two looks at how much it has used.
const GLANCE: Duration = Duration::from_millis(5);

/// The prompt of the sample system's shell.
const PROMPT: &str = "rayos# ";

/// A machine that is on. Dropping it kills it.
pub struct Running {
    child: Child,
    console: Console,
    qmp: Option<Qmp>,
    log: PathBuf,
    command_line: String,
    step: String,
    fatal: Vec<String>,
    /// Commands run so far: each has its own marks.
    commands: u32,
    _socket: Option<TempDir>,
}

/// What a command in the guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to the console, stdout and stderr together.
    pub output: String,
}

impl Running {
    pub(crate) fn new(child: Child, console: Console, log: PathBuf, command_line: String) -> Self {
        Self {
            child,
            console,
            qmp: None,
            log,
            command_line,
            step: "start".to_owned(),
            fatal: Vec::new(),
            commands: 0,
            _socket: None,
        }
    }

    pub(crate) fn attach(&mut self, qmp: Qmp, socket: TempDir) {
        self.qmp = Some(qmp);
        self._socket = Some(socket);
    }

    /// Names what comes next, for the failure that may come of it.
    pub fn step(&mut self, words: impl Into<String>) -> &mut Self {
        self.step = words.into();
        self
    }

    /// From now on these patterns on the console end any wait with a failure. An empty list forgets
    /// them.
    pub fn fatal(&mut self, patterns: &[&str]) -> &mut Self {
        self.fatal = patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect();
        self
    }

    /// Waits for `pattern` on the console, after what was waited for before, and returns its line.
    ///
    /// # Errors
    /// When it does not come within the usual limit, the machine ends, or a fatal pattern comes
    /// first.
    pub fn expect(&mut self, pattern: &str) -> Result<String, Failure> {
        self.expect_within(pattern, LIMIT)
    }

    /// [`Running::expect`] with a limit of its own.
    ///
    /// # Errors
    /// As [`Running::expect`].
    pub fn expect_within(&mut self, pattern: &str, limit: Duration) -> Result<String, Failure> {
        self.expect_any(&[pattern], limit).map(|(_, line)| line)
    }

    /// Waits for the first of `patterns` and returns its index and its line.
    ///
    /// # Errors
    /// As [`Running::expect`].
    pub fn expect_any(
        &mut self,
        patterns: &[&str],
        limit: Duration,
    ) -> Result<(usize, String), Failure> {
        let all: Vec<&str> = patterns
            .iter()
            .copied()
            .chain(self.fatal.iter().map(String::as_str))
            .collect();
        let limit = limit * patience();
        let wanted = || {
            patterns
                .iter()
                .map(|pattern| format!("\"{pattern}\""))
                .collect::<Vec<_>>()
                .join(" or ")
        };
        match self.console.wait(&all, limit) {
            Waited::Came(index, line) if index < patterns.len() => Ok((index, line)),
            Waited::Came(_, line) => {
                Err(self.failure(format!("waited for {}, but: {line}", wanted())))
            }
            Waited::Ended => {
                Err(self.failure(format!("waited for {}, but the machine ended", wanted())))
            }
            Waited::TooLong => Err(self.failure(format!(
                "{} did not come within {} s",
                wanted(),
                limit.as_secs()
            ))),
        }
    }

    /// Sends a line to the console.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        self.console
            .send_line(line)
            .map_err(|error| self.failure(format!("send to the console: {error}")))
    }

    /// Sends bytes to the console, for programs that read keys.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn send_keys(&mut self, keys: &[u8]) -> Result<(), Failure> {
        self.console
            .send(keys)
            .map_err(|error| self.failure(format!("send to the console: {error}")))
    }

    /// Runs `command` (one line, for `sh`) in the guest's shell and waits for its end.
    ///
    /// # Errors
    /// When there is no shell, or the command does not end within the usual limit.
    pub fn run(&mut self, command: &str) -> Result<Shell, Failure> {
        self.run_within(command, LIMIT)
    }

    /// [`Running::run`] with a limit of its own.
    ///
    /// # Errors
    /// As [`Running::run`].
    pub fn run_within(&mut self, command: &str, limit: Duration) -> Result<Shell, Failure> {
        self.commands += 1;
        let number = self.commands;
        // The shell echoes what is sent, so the marks are spelled differently there than when they
        // are printed.
        self.send_line(&format!(
            "echo BEG''IN-{number}; ( {command} ) 2>&1; echo EN''D-{number} code=$?"
        ))?;
        let before = std::mem::replace(&mut self.step, format!("run in the guest: {command}"));
        self.expect_within(&format!("BEGIN-{number}"), limit)?;
        let begin = self.console.position();
        let line = self.expect_within(&format!("END-{number} code="), limit)?;
        let text = self.console.text_from(begin);
        let end = format!("END-{number} code=");
        let output = text.split(&end).next().unwrap_or_default().to_owned();
        let code = line
            .rsplit("code=")
            .next()
            .and_then(|code| code.trim().parse().ok());
        let code = code.ok_or_else(|| self.failure(format!("no exit code in \"{line}\"")))?;
        self.step = before;
        Ok(Shell { code, output })
    }

    /// [`Running::run`], where anything but success is a failure; returns what the command wrote.
    ///
    /// # Errors
    /// As [`Running::run`], and when its exit code is not 0.
    pub fn check(&mut self, command: &str) -> Result<String, Failure> {
        let shell = self.run(command)?;
        if shell.code == 0 {
            return Ok(shell.output);
        }
        Err(self.failure(format!(
            "{command}: exit code {}: {}",
            shell.code,
            shell.output.trim()
        )))
    }

    /// Waits for the sample system's shell to say that it listens.
    ///
    /// # Errors
    /// As [`Running::expect`].
    pub fn expect_shell(&mut self) -> Result<(), Failure> {
        self.expect(PROMPT).map(|_| ())
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.execute("system_reset", json!({}))
    }

    /// Pulls a disk (by its place in the order they were added) out of the running machine.
    ///
    /// # Errors
    /// When there is none with this number, or the machine is gone.
    pub fn unplug(&mut self, number: usize) -> Result<(), Failure> {
        self.execute("device_del", json!({"id": format!("disk{number}-dev")}))
    }

    /// How often the machine was reset since it was switched on, by the guest or by
    /// [`Running::reset`].
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn resets(&mut self) -> Result<u32, Failure> {
        let resets = self.qmp.as_mut().map(Qmp::resets);
        match resets {
            Some(Ok(resets)) => Ok(resets),
            Some(Err(error)) => Err(self.failure(format!("count resets: {error}"))),
            None => Err(self.failure("count resets: no monitor".to_owned())),
        }
    }

    /// Switches the machine off, as a person does who holds the button: the guest is not asked.
    /// QEMU writes what its disks have been told to the images.
    ///
    /// # Errors
    /// When it does not end.
    pub fn power_off(mut self) -> Result<(), Failure> {
        self.execute("quit", json!({}))?;
        self.wait(LIMIT).map(|_| ())
    }

    /// Stops the machine where it is, and keeps in `memory` what [`crate::Machine::resume`] goes on
    /// from, together with copies of its disks and variables as they are now.
    ///
    /// It stands still first, with every read and write of its disks done. Kept while it ran, as
    /// QEMU offers, the memory now and then was not that of one moment, and the kernel that went on
    /// from it fell over or hung.
    ///
    /// # Errors
    /// When QEMU cannot write the file, or does not end.
    pub fn freeze(mut self, memory: &Path) -> Result<(), Failure> {
        self.execute("stop", json!({}))?;
        let uri = format!("exec:cat >'{}'", memory.display());
        self.execute("migrate", json!({"uri": uri}))?;
        let ended = self
            .qmp
            .as_mut()
            .map(|qmp| qmp.until("query-migrate", "status", &["completed", "failed"]));
        match ended {
            Some(Ok("completed")) => self.power_off(),
            other => Err(self.failure(format!("keep the machine's memory: {other:?}"))),
        }
    }

    /// Lets a machine that has its kept memory again go on.
    pub(crate) fn go_on(&mut self) -> Result<(), Failure> {
        let stands = self
            .qmp
            .as_mut()
            .map(|qmp| qmp.until("query-status", "status", &["paused"]));
        match stands {
            Some(Ok(_)) => self.execute("cont", json!({})),
            other => Err(self.failure(format!("go on from kept memory: {other:?}"))),
        }
    }

    /// Kills QEMU in the middle of whatever it does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .map_err(|error| self.failure(format!("kill: {error}")))?;
        self.wait(LIMIT).map(|_| ())
    }

    /// Processor time that the machine has used since it was switched on: what goes by slowly on a
    /// busy host goes by slowly in it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn effort(&self) -> Result<Duration, Failure> {
        effort::used(self.child.id())
            .map_err(|error| self.failure(format!("ask for its effort: {error}")))
    }

    /// Lets the machine go on until it has used so much more of the processor, or does nothing any
    /// more, and kills it.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn kill_after(self, more: Duration) -> Result<(), Failure> {
        let goal = self.effort()? + more;
        let (mut looked, mut then) = (Instant::now(), self.effort()?);
        loop {
            let now = self.effort()?;
            if now >= goal {
                break;
            }
            if looked.elapsed() > IDLE {
                if now.saturating_sub(then) < IDLE / 25 {
                    break;
                }
                (looked, then) = (Instant::now(), now);
            }
            // Nothing is waited for: only the end of the machine ends this earlier.
            if self.console.wait(&[], GLANCE) == Waited::Ended {
                return Err(self.failure("ended before it was killed".to_owned()));
            }
        }
        self.kill()
    }

    /// Waits until the guest has switched the machine off.
    ///
    /// # Errors
    /// When it does not end within the limit.
    pub fn wait_exit(mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        self.wait(limit)
    }

    /// The file that holds the whole console.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything on the console after what was waited for last.
    #[must_use]
    pub fn unread(&self) -> String {
        self.console.text_from(self.console.position())
    }

    /// A failure of the present step, with the console as it is now. *Pure.*
    #[must_use]
    pub fn failure(&self, what: String) -> Failure {
        Failure {
            step: self.step.clone(),
            what,
            machine: Some(Box::new(Scene {
                tail: self.console.tail(TAIL),
                log: self.log.clone(),
                command_line: self.command_line.clone(),
            })),
        }
    }

    pub(crate) fn execute(
        &mut self,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<(), Failure> {
        let done = self.qmp.as_mut().map(|qmp| qmp.execute(command, arguments));
        match done {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.failure(format!("{command}: {error}"))),
            None => Err(self.failure(format!("{command}: no monitor"))),
        }
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        // The console ends when the process does: nothing else has its output.
        let waited = loop {
            match self.console.wait(&["\n"], limit * patience()) {
                Waited::Came(..) => {}
                other => break other,
            }
        };
        if waited == Waited::TooLong {
            return Err(self.failure(format!(
                "the machine did not end within {} s",
                limit.as_secs()
            )));
        }
        self.child
            .wait()
            .map_err(|error| self.failure(format!("wait for qemu: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `RAYOS_PATIENCE`, or 1.
fn patience() -> u32 {
    std::env::var("RAYOS_PATIENCE")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1)
        .max(1)
}
