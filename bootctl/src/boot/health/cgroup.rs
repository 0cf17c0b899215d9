//! A control group for one run of a check, so that a time-out ends all of its processes.
//!
//! A process group loses those that call setsid(2); a control group (version 2) does not. This
//! program enters a new group, starts the check in it and leaves it again: the check is in the group
//! from its first instruction. Where there are no such groups, or they cannot be made, checks run
//! without.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where version 2 is mounted: alone, or beside version 1.
const MOUNT_POINTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const OWN: &str = "/proc/self/cgroup";

/// A group that was made for a run. Dropping it removes it, if it is empty.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
    /// The group that this program belongs to.
    home: PathBuf,
}

impl Cgroup {
    /// Makes a group and enters it. *Writes* to the file system of control groups.
    pub(super) fn enter() -> Option<Self> {
        let own = fs::read_to_string(OWN).ok()?;
        MOUNT_POINTS
            .into_iter()
            .find_map(|root| Self::enter_below(Path::new(root), &own))
    }

    fn enter_below(root: &Path, own: &str) -> Option<Self> {
        let home = root.join(own_group(own)?);
        let dir = home.join(format!("rayos-check-{}", std::process::id()));
        // A killed program may have left it; with a process in it, it cannot be used.
        fs::remove_dir(&dir).ok();
        fs::create_dir(&dir).ok()?;
        let group = Self { dir, home };
        group.move_to(&group.dir).ok()?;
        Some(group)
    }

    fn move_to(&self, group: &Path) -> io::Result<()> {
        fs::write(group.join("cgroup.procs"), "0")
    }

    /// Returns to the group that this program came from. *Writes.* If that fails, the group must
    /// not be used, because killing it would end this program.
    pub(super) fn leave(self) -> Option<Self> {
        self.move_to(&self.home).ok().map(|()| self)
    }

    /// Ends all processes in the group. *Writes.* Linux before 5.14 cannot do it, and then only
    /// those of the check's process group end.
    pub(super) fn kill(&self) {
        fs::write(self.dir.join("cgroup.kill"), "1").ok();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A group with a process that a check left behind stays.
        fs::remove_dir(&self.dir).ok();
    }
}

/// Returns the group of version 2 in `/proc/self/cgroup`, relative to the mount point. *Pure.*
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_version_2_is_found_among_others() {
        let text = "9:name=systemd:/\n0::/system.slice/rayos-health.service\n";
        assert_eq!(own_group(text), Some("system.slice/rayos-health.service"));
        assert_eq!(own_group("0::/\n"), Some(""));
        assert_eq!(own_group("1:cpu:/\n"), None);
    }
}
