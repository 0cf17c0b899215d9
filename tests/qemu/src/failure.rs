//! A failed step, with what is needed to find the cause without a second run.

use std::fmt;
use std::path::PathBuf;

/// A step of a scenario failed. Its display is a report of several lines.
#[derive(Clone, thiserror::Error)]
pub struct Failure {
    /// The step, as the scenario names it.
    pub step: String,
    /// The cause.
    pub what: String,
    /// The machine, if one was running.
    pub machine: Option<Box<MachineState>>,
}

/// The machine at the moment of the failure.
#[derive(Clone)]
pub struct MachineState {
    /// The last lines of the console.
    pub tail: String,
    /// The file that holds the whole console.
    pub log: PathBuf,
    /// The command line of QEMU.
    pub command_line: String,
}

impl Failure {
    /// Returns a failure without a machine. *Pure.*
    #[must_use]
    pub fn new(step: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            what: what.into(),
            machine: None,
        }
    }

    /// Returns a closure for `map_err` that makes an error a failure of `step`. *Pure.*
    pub fn of<E: fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self::new(step, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.what)?;
        let Some(state) = &self.machine else {
            return Ok(());
        };
        write!(f, "\n  the end of the console:")?;
        for line in state.tail.lines() {
            write!(f, "\n    | {line}")?;
        }
        write!(
            f,
            "\n  the whole console: {}\n  started as: {}",
            state.log.display(),
            state.command_line
        )
    }
}

/// Same as the display, because a test that returns an error prints its debug form.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
