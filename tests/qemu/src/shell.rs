//! Commands in the guest's shell, on the serial console.

use crate::running::LIMIT;
use crate::{Failure, Running};
use std::time::Duration;

/// The prompt of the sample system's shell.
const PROMPT: &str = "rayos# ";

/// Result of a command in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Its exit code.
    pub code: i32,
    /// Its stdout and stderr together.
    pub output: String,
}

impl Running {
    /// Waits for the prompt of the sample system's shell.
    ///
    /// # Errors
    /// As [`Running::expect`].
    pub fn expect_shell(&mut self) -> Result<(), Failure> {
        self.expect(PROMPT).map(|_| ())
    }

    /// Runs `command` (one line, for `sh`) in the guest's shell and waits for its end.
    ///
    /// # Errors
    /// When there is no shell, or the command does not end within the usual limit.
    pub fn run(&mut self, command: &str) -> Result<Shell, Failure> {
        self.run_within(command, LIMIT)
    }

    /// Same as [`Running::run`], with a limit.
    ///
    /// # Errors
    /// As [`Running::run`].
    pub fn run_within(&mut self, command: &str, limit: Duration) -> Result<Shell, Failure> {
        self.commands += 1;
        let number = self.commands;
        // The shell echoes its input, so the markers are spelled differently there than they are
        // printed.
        self.send_line(&format!(
            "echo BEG''IN-{number}; ( {command} ) 2>&1; echo EN''D-{number} code=$?"
        ))?;
        let before = std::mem::replace(&mut self.step, format!("run in the guest: {command}"));
        self.expect_within(&format!("BEGIN-{number}"), limit)?;
        let begin = self.console.position();
        let end = format!("END-{number} code=");
        let line = self.expect_within(&end, limit)?;
        let text = self.console.text_from(begin);
        let output = text.split(&end).next().unwrap_or_default().to_owned();
        let code = line
            .rsplit("code=")
            .next()
            .and_then(|code| code.trim().parse().ok());
        let code = code.ok_or_else(|| self.failure(format!("no exit code in \"{line}\"")))?;
        self.step = before;
        Ok(Shell { code, output })
    }

    /// Runs `command` as [`Running::run`] does and returns its output.
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
}
