//! What a running `rayos-bootctl health` tells others: how many checks must pass, and until when.
//!
//! A file under `/run` that is locked for as long as the checks run. A file without a lock was left
//! by a program that was killed, and says nothing.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where `health` leaves it.
pub const WATCH_FILE: &str = "/run/rayos/health";
/// Longest file that is read.
const MAX_LEN: u64 = 64;

/// Checks that are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// How many must pass, those that have among them.
    pub checks: usize,
    /// What is left until the deadline.
    pub left: Duration,
}

/// Time since the machine was started: no clock that is set can make a deadline pass or move away.
#[must_use]
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let part = |number| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}

/// The file, locked; dropping it takes it away.
#[derive(Debug)]
pub struct Told {
    path: PathBuf,
    // The lock goes with it.
    _file: File,
}

impl Told {
    /// Tells in `path` that `checks` run, until `deadline` of [`uptime`]. *Writes.*
    ///
    /// # Errors
    /// What the kernel says, such as that another one runs (`WouldBlock`).
    pub fn new(path: &Path, checks: usize, deadline: Duration) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
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

impl Drop for Told {
    fn drop(&mut self) {
        // It says nothing without its lock anyway.
        fs::remove_file(&self.path).ok();
    }
}

/// What is told in `path`, if somebody is telling. *Reads.* `now` is [`uptime`].
#[must_use]
pub fn read(path: &Path, now: Duration) -> Option<Watch> {
    let file = File::open(path).ok()?;
    // Had for the asking: nobody holds it, so nobody runs.
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

    #[test]
    fn what_is_told_counts_while_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rayos/health");
        assert_eq!(read(&path, Duration::ZERO), None);
        let told = Told::new(&path, 4, Duration::from_secs(300)).unwrap();
        let watch = read(&path, Duration::from_secs(50)).unwrap();
        assert_eq!(
            watch,
            Watch {
                checks: 4,
                left: Duration::from_secs(250)
            }
        );
        assert_eq!(
            read(&path, Duration::from_secs(301)).unwrap().left,
            Duration::ZERO
        );
        assert_eq!(
            Told::new(&path, 1, Duration::ZERO).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let kept = fs::read(&path).unwrap();
        drop(told);
        assert!(!path.exists());
        // As a program leaves it that was killed.
        fs::write(&path, kept).unwrap();
        assert_eq!(read(&path, Duration::ZERO), None);
    }

    #[test]
    fn nonsense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health");
        for text in ["", "4", "x 1", "4 -1", "4 1 2", &"9".repeat(1000)] {
            fs::write(&path, text).unwrap();
            let lock = File::open(&path).unwrap();
            flock(&lock, FlockOperation::LockExclusive).unwrap();
            assert_eq!(read(&path, Duration::ZERO), None, "{text}");
        }
    }
}
