//! The machine's switches: reset, power off, kill, suspend.

use crate::console::Waited;
use crate::qmp::Qmp;
use crate::running::LIMIT;
use crate::{Failure, Running};
use serde_json::json;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A machine that uses less than a twenty-fifth of this time in it is idle: only its clock ticks.
const IDLE: Duration = Duration::from_secs(2);

/// Interval at which the processor time is read.
const INTERVAL: Duration = Duration::from_millis(5);

impl Running {
    /// Presses the reset button.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.execute("system_reset", json!({}))
    }

    /// Removes the disk with this number from the running machine.
    ///
    /// # Errors
    /// When there is none with this number, or the machine has ended.
    pub fn unplug(&mut self, number: usize) -> Result<(), Failure> {
        self.execute("device_del", json!({"id": format!("disk{number}-dev")}))
    }

    /// Returns the number of resets since the machine was switched on, by the guest or by
    /// [`Running::reset`].
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn resets(&mut self) -> Result<u32, Failure> {
        match self.qmp.as_mut().map(Qmp::resets) {
            Some(Ok(resets)) => Ok(resets),
            Some(Err(error)) => Err(self.failure(format!("count resets: {error}"))),
            None => Err(self.failure("count resets: no monitor".to_owned())),
        }
    }

    /// Switches the machine off without telling the guest. QEMU completes the writes that the disks
    /// have accepted.
    ///
    /// # Errors
    /// When it does not end.
    pub fn power_off(mut self) -> Result<(), Failure> {
        self.execute("quit", json!({}))?;
        self.wait(LIMIT).map(|_| ())
    }

    /// Stops the machine and writes its memory to the file `memory`, from which
    /// [`crate::Machine::resume`] continues, together with copies of its disks and variables.
    ///
    /// The machine is stopped first, and all reads and writes of its disks are completed. If QEMU
    /// writes the memory while the machine runs, it is now and then not that of one moment: the
    /// resumed kernel then panics or hangs.
    ///
    /// # Errors
    /// When QEMU cannot write the file, or does not end.
    pub fn suspend(mut self, memory: &Path) -> Result<(), Failure> {
        self.execute("stop", json!({}))?;
        let uri = format!("exec:cat >'{}'", memory.display());
        self.execute("migrate", json!({"uri": uri}))?;
        let ended = self
            .qmp
            .as_mut()
            .map(|qmp| qmp.until("query-migrate", "status", &["completed", "failed"]));
        match ended {
            Some(Ok("completed")) => self.power_off(),
            other => Err(self.failure(format!("write the machine's memory: {other:?}"))),
        }
    }

    /// Continues a machine that has loaded its suspended memory.
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        let paused = self
            .qmp
            .as_mut()
            .map(|qmp| qmp.until("query-status", "status", &["paused"]));
        match paused {
            Some(Ok(_)) => self.execute("cont", json!({})),
            other => Err(self.failure(format!("resume from suspended memory: {other:?}"))),
        }
    }

    /// Kills QEMU, whatever it is doing.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.kill_process()
            .map_err(|error| self.failure(format!("kill: {error}")))?;
        self.wait(LIMIT).map(|_| ())
    }

    /// Kills the machine when it has used `more` processor time or is idle.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn kill_after(self, more: Duration) -> Result<(), Failure> {
        let goal = self.cpu_time()? + more;
        let (mut looked, mut then) = (Instant::now(), self.cpu_time()?);
        loop {
            let now = self.cpu_time()?;
            if now >= goal {
                break;
            }
            if looked.elapsed() > IDLE {
                if now.saturating_sub(then) < IDLE / 25 {
                    break;
                }
                (looked, then) = (Instant::now(), now);
            }
            // No pattern to wait for: only the end of the machine ends this earlier.
            if self.console.wait(&[], INTERVAL) == Waited::Ended {
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
}
