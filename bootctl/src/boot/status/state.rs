//! What is known about a machine.

use crate::boot::failure_report::{self, BootFailure};
use crate::boot::watch::Watch;
use crate::firmware::secure_boot::SecureBoot;
use record::event::Event;
use record::{Choice, Decision, Handoff, Record, Request, Tried, Why, decide};

/// What is known about a machine. Any of it may be missing.
#[derive(Clone, Debug, Default)]
pub struct MachineStatus {
    /// What the guard reported about this boot; `None` offline.
    pub handoff: Option<Handoff>,
    /// The boot record.
    pub record: Option<Record>,
    /// The events so far, oldest first.
    pub events: Vec<Event>,
    /// The health checks that are running, if any.
    pub watch: Option<Watch>,
    /// The state of Secure Boot; `None` offline, or if the firmware does not report it.
    pub secure_boot: Option<SecureBoot>,
    /// Reasons why less is known, or why the machine needs attention.
    pub warnings: Vec<String>,
}

impl MachineStatus {
    /// Returns what the next boot starts if nothing changes until then, and why. *Pure.*
    #[must_use]
    pub fn next(&self) -> Option<(Choice, Why)> {
        match decide(self.record.as_ref()?, Request::Plain, Tried::default()) {
            Decision::Launch { choice, why, .. } => Some((choice, why)),
            Decision::GiveUp { .. } => None,
        }
    }

    /// Returns what is running; `None` offline. *Pure.*
    #[must_use]
    pub fn booted(&self) -> Option<Choice> {
        self.handoff.map(|handoff| handoff.choice)
    }

    /// Returns the failure that explains why this slot runs, if there was one. *Pure.*
    #[must_use]
    pub fn failure(&self) -> Option<BootFailure> {
        let running = self
            .booted()
            .or_else(|| self.next().map(|(choice, _)| choice));
        failure_report::explains(self.record.as_ref()?, &self.events, running)
    }
}
