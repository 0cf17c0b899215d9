//! A machine that runs: its console and its state.

use crate::console::{Console, Waited};
use crate::failure::MachineState;
use crate::qmp::Qmp;
use crate::{Failure, cpu_time};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// Maximum duration of a step without a limit of its own. Under translation on a busy host
/// everything takes ten times as long as it should; `RAYOS_PATIENCE` (a number) multiplies all
/// limits.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Number of lines of the console that a failure shows.
const TAIL: usize = 40;

/// A machine that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    pub(crate) console: Console,
    pub(crate) qmp: Option<Qmp>,
    log: PathBuf,
    command_line: String,
    pub(crate) step: String,
    fatal: Vec<String>,
    /// Number of commands run so far: each has its own markers.
    pub(crate) commands: u32,
    _socket_folder: Option<TempDir>,
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
            _socket_folder: None,
        }
    }

    pub(crate) fn attach(&mut self, qmp: Qmp, socket_folder: TempDir) {
        self.qmp = Some(qmp);
        self._socket_folder = Some(socket_folder);
    }

    /// Names the next step, for the failure that it may end in.
    pub fn step(&mut self, words: impl Into<String>) -> &mut Self {
        self.step = words.into();
        self
    }

    /// Sets the patterns that end every later wait with a failure. An empty list clears them.
    pub fn fatal(&mut self, patterns: &[&str]) -> &mut Self {
        self.fatal = patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect();
        self
    }

    /// Waits for `pattern` on the console, after the text of earlier waits, and returns its line.
    ///
    /// # Errors
    /// When it does not arrive within the usual limit, the machine ends, or a fatal pattern arrives
    /// first.
    pub fn expect(&mut self, pattern: &str) -> Result<String, Failure> {
        self.expect_within(pattern, LIMIT)
    }

    /// Same as [`Running::expect`], with a limit.
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
            Waited::Found(index, line) if index < patterns.len() => Ok((index, line)),
            Waited::Found(_, line) => {
                Err(self.failure(format!("waited for {}, but: {line}", wanted())))
            }
            Waited::Ended => {
                Err(self.failure(format!("waited for {}, but the machine ended", wanted())))
            }
            Waited::TimedOut => Err(self.failure(format!(
                "{} did not arrive within {} s",
                wanted(),
                limit.as_secs()
            ))),
        }
    }

    /// Waits until a line has one of `patterns` or the machine ends, and returns the whole console
    /// up to there.
    ///
    /// # Errors
    /// When no line arrives for the usual limit.
    pub fn expect_any_or_end(&mut self, patterns: &[&str]) -> Result<String, Failure> {
        let limit = LIMIT * patience();
        loop {
            match self.console.wait(&["\n"], limit) {
                Waited::Found(_, line) if patterns.iter().any(|it| line.contains(it)) => {
                    let mut text = self.console.text_from(0);
                    text.truncate(self.console.position());
                    return Ok(text);
                }
                Waited::Found(..) => {}
                Waited::Ended => return Ok(self.console.text_from(0)),
                Waited::TimedOut => {
                    let what = format!("no line on the console for {} s", limit.as_secs());
                    return Err(self.failure(what));
                }
            }
        }
    }

    /// Sends a line to the console.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        self.send_keys(format!("{line}\n").as_bytes())
    }

    /// Sends bytes to the console, for programs that read keys.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send_keys(&mut self, keys: &[u8]) -> Result<(), Failure> {
        self.console
            .send(keys)
            .map_err(|error| self.failure(format!("send to the console: {error}")))
    }

    /// Returns the processor time that the machine has used since it was switched on. It measures
    /// the machine's progress independently of the load of the host.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn cpu_time(&self) -> Result<Duration, Failure> {
        cpu_time::used(self.child.id())
            .map_err(|error| self.failure(format!("read its processor time: {error}")))
    }

    /// The file that holds the whole console.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The text on the console after that of the last wait.
    #[must_use]
    pub fn unread(&self) -> String {
        self.console.text_from(self.console.position())
    }

    /// Returns a failure of the present step, with the console as it is now. *Pure.*
    #[must_use]
    pub fn failure(&self, what: String) -> Failure {
        Failure {
            step: self.step.clone(),
            what,
            machine: Some(Box::new(MachineState {
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
        match self.qmp.as_mut().map(|qmp| qmp.execute(command, arguments)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.failure(format!("{command}: {error}"))),
            None => Err(self.failure(format!("{command}: no monitor"))),
        }
    }

    pub(crate) fn kill_process(&mut self) -> std::io::Result<()> {
        self.child.kill()
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        // The console ends with the process: no other process has its output.
        let waited = loop {
            match self.console.wait(&["\n"], limit * patience()) {
                Waited::Found(..) => {}
                other => break other,
            }
        };
        if waited == Waited::TimedOut {
            let what = format!("the machine did not end within {} s", limit.as_secs());
            return Err(self.failure(what));
        }
        self.child
            .wait()
            .map_err(|error| self.failure(format!("wait for qemu: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if the machine has ended already.
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
