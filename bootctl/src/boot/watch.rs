//! The watch file, by which a running `rayos-bootctl health` publishes how many checks must pass
//! and until when.
//!
//! The file is in `/run` and is locked while the checks run. A file without a lock was left by a
//! killed program and is ignored.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Path of the watch file.
pub const WATCH_FILE: &str = "/run/rayos/health";
/// Maximum length of a watch file. Stops a huge file from filling memory.
const MAX_LEN: u64 = 64;

/// Health checks that are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Number of checks, including those that have passed.
    pub checks: usize,
    /// Time left until the deadline.
    pub left: Duration,
}

/// Returns the time since the machine was started. *Reads.* Setting the clock does not change it,
/// so that no deadline passes or moves because of that.
#[must_use]
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let unsigned = |number| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(unsigned(now.tv_sec)) + Duration::from_nanos(unsigned(now.tv_nsec))
}

/// A watch file, locked. Dropping it removes the file.
#[derive(Debug)]
pub struct WatchFile {
    path: PathBuf,
    // Closing it releases the lock.
    _file: File,
}

impl WatchFile {
    /// Writes to `path` that `checks` run until `deadline`, a time of [`uptime`]. *Writes.*
    ///
    /// # Errors
    /// The error of the file system; `WouldBlock` if another program runs checks.
    ///
    /// # Power loss
    /// Leaves nothing: `/run` is in memory.
    pub fn create(path: &Path, checks: usize, deadline: Duration) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        file.write_all(format!("{checks} {}\n", deadline.as_millis()).as_bytes())?;
        Ok(Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for WatchFile {
    fn drop(&mut self) {
        // A file that stays has no lock and is ignored.
        fs::remove_file(&self.path).ok();
    }
}

/// Reads the watch file at `path`; `None` if no checks run. *Reads.* `now` is [`uptime`].
#[must_use]
pub fn read(path: &Path, now: Duration) -> Option<Watch> {
    let file = File::open(path).ok()?;
    // If the lock can be had, no program holds it.
    if flock(&file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text).ok()?;
    let (checks, deadline) = text.trim_end().split_once(' ')?;
    let deadline = Duration::from_millis(deadline.parse().ok()?);
    Some(Watch {
        checks: checks.parse().ok()?,
        left: deadline.saturating_sub(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(checks: usize, left: u64) -> Option<Watch> {
        Some(Watch {
            checks,
            left: Duration::from_secs(left),
        })
    }

    #[test]
    fn a_watch_file_counts_while_its_program_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rayos/health");
        assert_eq!(read(&path, Duration::ZERO), None);
        let file = WatchFile::create(&path, 4, Duration::from_secs(300)).unwrap();
        assert_eq!(read(&path, Duration::from_secs(50)), watch(4, 250));
        assert_eq!(read(&path, Duration::from_secs(301)), watch(4, 0));
        let second = WatchFile::create(&path, 1, Duration::ZERO).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        let bytes = fs::read(&path).unwrap();
        drop(file);
        assert!(!path.exists());
        // As a killed program leaves it.
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path, Duration::ZERO), None);
    }

    #[test]
    fn a_malformed_watch_file_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        for text in ["", "4", "x 1", "4 -1", "4 1 2", &"9".repeat(1000)] {
            fs::write(&path, text).unwrap();
            let lock = File::open(&path).unwrap();
            flock(&lock, FlockOperation::LockExclusive).unwrap();
            assert_eq!(read(&path, Duration::ZERO), None, "{text}");
        }
    }
}
