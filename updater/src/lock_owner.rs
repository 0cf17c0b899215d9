//! The process that holds the lock of a disk.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOwner {
    /// Its name; empty if unknown.
    pub name: String,
    /// Its process id.
    pub process: u32,
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return write!(f, "process {}", self.process);
        }
        write!(f, "{} (process {})", self.name, self.process)
    }
}

/// Returns the process that holds the lock on the file or device node at `path`; `None` if it is
/// unknown, for example because it runs in another container. *Reads* `/proc`.
#[must_use]
pub fn lock_owner(path: &Path) -> Option<LockOwner> {
    let file = fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let process = owner_in(
        &fs::read_to_string("/proc/locks").ok()?,
        major,
        minor,
        file.ino(),
    )?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(LockOwner {
        name: name.trim().to_owned(),
        process,
    })
}

/// Returns the process that holds a whole-file lock, by the text of `/proc/locks` (proc(5)).
/// *Pure.*
fn owner_in(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1).peekable();
        // An arrow marks a process that waits for the lock.
        if words.next()? != "FLOCK" {
            return None;
        }
        let (_, _, process, locked) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if locked == file {
            process.parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 100 08:01:77 0 EOF
1: -> FLOCK  ADVISORY  WRITE 101 08:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 102 00:05:77 0 EOF
3: FLOCK  ADVISORY  WRITE 103 08:01:77 0 EOF
4: nonsense
5: FLOCK ADVISORY WRITE -1 08:01:78 0 EOF
";

    #[test]
    fn the_owner_of_the_lock_is_found_and_a_waiting_process_is_not() {
        assert_eq!(owner_in(LOCKS, 8, 1, 77), Some(103));
        assert_eq!(owner_in(LOCKS, 0, 5, 77), Some(102));
        assert_eq!(owner_in(LOCKS, 8, 1, 78), None);
        assert_eq!(owner_in(LOCKS, 8, 1, 79), None);
    }

    #[test]
    fn this_process_is_found_by_its_lock() {
        let file = tempfile::NamedTempFile::new().expect("file");
        assert_eq!(lock_owner(file.path()), None);
        file.as_file().lock().expect("lock");
        let found = lock_owner(file.path()).expect("owner");
        assert_eq!(found.process, std::process::id());
        assert_eq!(
            found.to_string(),
            format!("{} (process {})", found.name, found.process)
        );
    }
}
