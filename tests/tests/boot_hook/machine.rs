//! A simulated machine for `rayos-root`: a root tree, a data partition that is a file, and the
//! programs of an initramfs, which only write down how they were called.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::project::root;

/// Shells of initramfs systems: initramfs-tools has dash or busybox, others have these or bash.
pub(crate) const SHELLS: [&[&str]; 3] = [&["dash"], &["busybox", "sh"], &["bash", "--posix"]];

/// Type of the data partition.
pub(crate) const DATA_TYPE: &str = "3868540f-0576-487c-971d-e96a7dc7158b\n";

/// Programs that the root image has.
const TOOLS: [&str; 14] = [
    "blkid",
    "dd",
    "od",
    "cp",
    "mkfs.ext4",
    "e2fsck",
    "resize2fs",
    "mkfs.xfs",
    "xfs_growfs",
    "mkfs.btrfs",
    "btrfs",
    "ssh-keygen",
    "mv",
    "rm",
];

/// The machine.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    shell: &'static [&'static str],
}

/// What a run of `rayos-root` did.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; 99 for a power cut.
    pub(crate) code: i32,
    /// The calls of programs, one a line.
    pub(crate) calls: String,
    /// What it printed.
    pub(crate) output: String,
}

impl Machine {
    /// Returns a machine whose image has `conf` as persist.conf and whose data partition is blank.
    /// *Writes.*
    pub(crate) fn new(shell: &'static [&'static str], conf: &str) -> Result<Self> {
        let machine = Self {
            folder: tempfile::tempdir()?,
            shell,
        };
        for folder in [
            "answers",
            "root/etc/rayos",
            "root/etc/ssh",
            "root/data",
            "root/dev",
            "root/proc",
            "root/sys",
            "root/tmp",
            "root/var/lib",
            "root/usr/bin",
            "sys/firmware/efi/efivars",
            "sys/devices/vda/vda5",
            "sys/devices/vda/vda8",
            "sys/class/block",
            "proc/sys/kernel/random",
        ] {
            fs::create_dir_all(machine.path(folder))?;
        }
        machine.put("root/etc/rayos/persist.conf", conf)?;
        machine.put("root/etc/machine-id", "uninitialized\n")?;
        machine.put("root/etc/hostname", "localhost\n")?;
        machine.put("root/var/lib/first", "of the image")?;
        machine.put("sys/firmware/efi/efivars/a", "")?;
        machine.put(
            "sys/devices/vda/vda5/uevent",
            "DEVNAME=vda5\nPARTNAME=root-a\n",
        )?;
        machine.put(
            "sys/devices/vda/vda8/uevent",
            "DEVNAME=vda8\nPARTNAME=data\n",
        )?;
        symlink(
            "../../devices/vda/vda5",
            machine.path("sys/class/block/vda5"),
        )?;
        machine.put(
            "proc/sys/kernel/random/uuid",
            "01234567-89ab-cdef-0123-456789abcdef\n",
        )?;
        machine.put("answers/root-fs", "erofs\n")?;
        machine.put("answers/PART_ENTRY_TYPE", DATA_TYPE)?;
        fs::File::create(machine.path("vda8"))?.set_len(1 << 20)?;
        for tool in TOOLS {
            let path = machine.path(&format!("root/usr/bin/{tool}"));
            fs::write(&path, "")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(machine)
    }

    /// A file of the machine. *Pure.*
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the machine. *Writes.*
    pub(crate) fn put(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| name.to_owned())
    }

    /// Makes a folder of the image refuse new files, as one of a read-only file system does; for
    /// the superuser, too. *Writes.*
    pub(crate) fn make_read_only(&self, folder: &str) -> Result<()> {
        Ok(fs::create_dir(
            self.path(&format!("root{folder}/.rayos-root")),
        )?)
    }

    /// Runs `rayos-root boot`.
    pub(crate) fn boot(&self) -> Result<Run> {
        self.run("boot", 0)
    }

    /// Runs `rayos-root VERB` on the tree; the power fails at call number `cut`, if it is not 0.
    pub(crate) fn run(&self, verb: &str, cut: u32) -> Result<Run> {
        let log = self.path("log");
        fs::write(&log, "")?;
        let here = root().join("tests/tests/boot_hook");
        let script = root().join("integration/boot/rayos-root");
        let path = format!("{}:/usr/bin:/bin", here.display());
        let output = Command::new(self.shell[0])
            .args(&self.shell[1..])
            .args(["-c", ". \"$PRELUDE\"; . \"$SCRIPT\"", "sh", verb])
            .arg(self.path("root"))
            .env_clear()
            .env("PATH", path)
            .env("PRELUDE", here.join("prelude.sh"))
            .env("SCRIPT", script)
            .env("M", self.folder.path())
            .env("CUT", cut.to_string())
            .env("RAYOS_SYS", self.path("sys"))
            .env("RAYOS_PROC", self.path("proc"))
            .env("RAYOS_KMSG", self.path("kmsg"))
            .output()
            .with_context(|| self.shell[0])?;
        let tree = self.path("root").display().to_string();
        Ok(Run {
            code: output.status.code().context("ended by a signal")?,
            calls: fs::read_to_string(&log)?.replace(&tree, "ROOT"),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Returns the files of a folder of the machine, sorted, with their texts. *Reads.*
    pub(crate) fn tree(&self, folder: &str) -> Result<Vec<(PathBuf, String)>> {
        let mut found = Vec::new();
        let mut pending = vec![self.path(folder)];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    pending.push(entry?.path());
                }
            } else {
                let text = fs::read_to_string(&path)?;
                found.push((path.strip_prefix(self.folder.path())?.to_owned(), text));
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Run {
    /// Checks that the run ended well.
    pub(crate) fn succeeded(self) -> Result<Self> {
        ensure!(self.code == 0, "{self:?}");
        Ok(self)
    }

    /// Checks that the run gave up with `reason`: recorded for `why`, and restarted.
    pub(crate) fn gave_up(self, reason: &str) -> Result<Self> {
        let recorded = format!("rayos-bootctl milestone failed --text initramfs: {reason}");
        ensure!(self.code == 1, "{self:?}");
        ensure!(
            self.output.contains(reason),
            "expected {reason:?}: {self:?}"
        );
        ensure!(
            self.calls.contains(&recorded),
            "expected {recorded:?}: {self:?}"
        );
        ensure!(self.calls.ends_with("reboot -f\n"), "{self:?}");
        Ok(self)
    }

    /// Checks that nothing was formatted.
    pub(crate) fn formatted_nothing(self) -> Result<Self> {
        ensure!(!self.calls.contains("mkfs"), "{self:?}");
        Ok(self)
    }
}

/// Runs `body` under each shell; the error names it.
pub(crate) fn under_each_shell(body: impl Fn(&'static [&'static str]) -> Result<()>) -> Result<()> {
    for shell in SHELLS {
        body(shell).with_context(|| shell.join(" "))?;
    }
    Ok(())
}

/// The text of a file of the project.
pub(crate) fn text(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
