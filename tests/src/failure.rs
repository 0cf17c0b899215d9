//! A step that did not come about, told so that nobody has to run it again to know why.

use std::fmt;
use std::path::PathBuf;

/// A step of a scenario failed. Its display is the whole report, of several lines.
#[derive(Clone, thiserror::Error)]
pub struct Failure {
    /// The step, in the scenario's words.
    pub step: String,
    /// What happened instead, or what did not happen.
    pub what: String,
    /// The machine it happened on, where there is one.
    pub machine: Option<Box<Scene>>,
}

/// The machine at the moment of the failure.
#[derive(Clone)]
pub struct Scene {
    /// The last lines of the console.
    pub tail: String,
    /// The file that holds the whole console.
    pub log: PathBuf,
    /// What was started.
    pub command_line: String,
}

impl Failure {
    /// A failure outside of any machine. *Pure.*
    #[must_use]
    pub fn new(step: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            what: what.into(),
            machine: None,
        }
    }

    /// For `map_err`: what the system said about `step`. *Pure.*
    pub(crate) fn of<E: fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self::new(step, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.what)?;
        let Some(scene) = &self.machine else {
            return Ok(());
        };
        write!(f, "\n  the end of the console:")?;
        for line in scene.tail.lines() {
            write!(f, "\n    | {line}")?;
        }
        write!(
            f,
            "\n  the whole console: {}\n  started as: {}",
            scene.log.display(),
            scene.command_line
        )
    }
}

/// As the display: tests that return an error show it by its debug form.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
