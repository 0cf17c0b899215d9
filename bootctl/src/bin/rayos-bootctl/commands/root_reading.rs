//! The root of a release on trial is read once, before the release is committed.

use crate::args::HealthArgs;
use crate::output::PROGRAM;
use bootctl::health::FailedCheck;
use bootctl::machine::Machine;
use bootctl::verified_root::{self, RootError};
use cli::output::note;
use record::{Record, Slot};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Where the kernel shows its devices.
pub(super) const SYS: &str = "/sys";
/// Minimum speed of the reading, in bytes per second: it may take that much longer than the checks.
const MIN_SPEED: u64 = 4 << 20;

/// A reading that runs while the checks run.
pub(super) struct RootReading {
    ended: mpsc::Receiver<Result<u64, RootError>>,
    until: Instant,
}

impl RootReading {
    /// Begins to read if `slot` is on trial and its root is verified. *Reads.*
    pub(super) fn start(
        machine: &Machine,
        record: &Record,
        slot: Slot,
        options: &HealthArgs,
    ) -> Option<Self> {
        let root = machine.handoff?.verified_root?;
        if options.skip_root || record.slot(slot).is_good() {
            return None;
        }
        let device = verified_root::opened(Path::new(SYS))?;
        let (sender, ended) = mpsc::channel();
        // The process does not wait for the thread if a check fails first.
        thread::spawn(move || sender.send(verified_root::read_all(&device)));
        let allowed = Duration::from_secs(options.deadline + root.len / MIN_SPEED);
        let until = Instant::now() + allowed;
        Some(Self { ended, until })
    }

    /// Waits for the end of the reading.
    ///
    /// # Errors
    /// As a check that failed: a part could not be read, or not in time.
    pub(super) fn finish(self) -> Result<(), FailedCheck> {
        let left = self.until.saturating_duration_since(Instant::now());
        let what = match self.ended.recv_timeout(left) {
            Ok(Ok(bytes)) => {
                note(&format!("{PROGRAM}: root verified, {bytes} bytes"));
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "was not read completely in time".to_owned(),
        };
        Err(FailedCheck {
            check: "root".to_owned(),
            what,
            output: String::new(),
        })
    }
}
