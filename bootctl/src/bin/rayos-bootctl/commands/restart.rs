//! Restarts the machine, also when its disks do not answer any more.

use crate::args::HealthArgs;
use crate::error::CommandError;
use crate::output::warn;
use rustix::system::{RebootCommand, reboot};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Maximum wait for everything written to reach the disks. A disk that does not answer would hold
/// sync(2) for ever.
const SYNC_WAIT: Duration = Duration::from_secs(30);
/// How long the gate may take beyond its deadline and the reading of a root before it counts as
/// hanging.
const GRACE: Duration = Duration::from_secs(600);

/// Restarts the machine at once. *Writes* what is in memory to the disks before, if they answer.
///
/// # Errors
/// The kernel refused.
pub(super) fn now() -> Result<(), CommandError> {
    let (sender, synced) = mpsc::channel();
    thread::spawn(move || {
        rustix::fs::sync();
        sender.send(()).ok();
    });
    if synced.recv_timeout(SYNC_WAIT).is_err() {
        warn(&"the disks do not answer: restarting without having written everything");
    }
    reboot(RebootCommand::Restart).map_err(CommandError::Reboot)
}

/// Restarts the machine when the gate itself hangs, such as in a read from a disk that does not
/// answer. Dropping it ends that.
pub(super) struct LastResort {
    _alive: Sender<()>,
}

impl LastResort {
    /// Arms it for one round of checks.
    pub(super) fn arm(options: &HealthArgs) -> Self {
        let (alive, dropped) = mpsc::channel();
        let limit = Duration::from_secs(options.deadline) + GRACE;
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                warn(&"the health checks do not end: restarting");
                if let Err(error) = now() {
                    warn(&error);
                }
            }
        });
        Self { _alive: alive }
    }
}
