//! What a disk or partition is in use for.

use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A use of a disk or partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "detail")]
pub enum Use {
    /// Mounted there.
    Mounted(String),
    /// Swap space.
    Swap,
    /// Part of another device: RAID, LVM, encryption.
    HeldBy(String),
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mounted(at) => write!(f, "mounted on {at}"),
            Self::Swap => f.write_str("used as swap space"),
            Self::HeldBy(name) => write!(f, "in use by {name}"),
        }
    }
}

/// What is mounted and what is swap space.
pub(super) struct Usage {
    /// Where the kernel describes block devices: `/sys/block`.
    block: PathBuf,
    mounts: Vec<Mount>,
    swaps: Vec<String>,
    /// Devices of mounted btrfs file systems, by kernel name: only one of them is a mount's source.
    btrfs: Vec<String>,
}

/// A mount, from `/proc/self/mountinfo` (proc(5)).
struct Mount {
    /// `major:minor`; an anonymous number if the file system manages its devices itself.
    device: String,
    at: String,
    /// Kernel name of its source, if that is a device.
    source: Option<String>,
}

impl Mount {
    fn parse(line: &str, dev: &Path) -> Option<Self> {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ');
        let (device, at) = (fields.nth(2)?.to_owned(), fields.nth(1)?.to_owned());
        let source = rest.split(' ').nth(1).unwrap_or_default();
        let source = source.strip_prefix("/dev/").map(|name| {
            let path = dev.join(name);
            let real = fs::canonicalize(&path).unwrap_or(path);
            let name = real.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        });
        Some(Self { device, at, source })
    }
}

impl Usage {
    /// Reads the tables of the kernel. *Reads*; a missing table counts as empty.
    pub(super) fn read(sys: &Path, proc: &Path, dev: &Path) -> Self {
        let mountinfo = fs::read_to_string(proc.join("self/mountinfo")).unwrap_or_default();
        let mounts = mountinfo.lines().filter_map(|line| Mount::parse(line, dev));
        let btrfs = sys.join("fs/btrfs");
        let devices = names(&btrfs)
            .into_iter()
            .flat_map(|id| names(&btrfs.join(id).join("devices")));
        let swaps = fs::read_to_string(proc.join("swaps")).unwrap_or_default();
        let swaps = swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next()?.strip_prefix("/dev/"));
        Self {
            block: sys.join("block"),
            mounts: mounts.collect(),
            swaps: swaps.map(str::to_owned).collect(),
            btrfs: devices.collect(),
        }
    }

    /// Returns the uses of the device with this kernel name, `major:minor` and holders. *Pure.*
    pub(super) fn of(&self, name: &str, device_number: &str, holders: &[String]) -> Vec<Use> {
        let is_it =
            |mount: &&Mount| mount.device == device_number || mount.source.as_deref() == Some(name);
        let mounted = self.mounts.iter().filter(is_it);
        let mut uses: Vec<Use> = mounted
            .map(|mount| Use::Mounted(mount.at.clone()))
            .collect();
        if uses.is_empty() && self.btrfs.iter().any(|device| device == name) {
            let holder = "a btrfs file system that is mounted";
            uses.push(Use::HeldBy(holder.to_owned()));
        }
        if self.swaps.iter().any(|swap| swap == name) {
            uses.push(Use::Swap);
        }
        uses.extend(
            holders
                .iter()
                .map(|holder| Use::HeldBy(self.holder(holder))),
        );
        uses
    }

    /// Returns the name of a device that is built on another one, with its kind and its own name if
    /// it is one of the device mapper (`dm-0 (multipath mpatha)`) or of RAID. *Reads.*
    fn holder(&self, name: &str) -> String {
        let folder = self.block.join(name);
        let text = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            Some(text.trim().to_owned())
        };
        if let Some(level) = text("md/level") {
            return format!("{name} ({level})");
        }
        let Some(uuid) = text("dm/uuid") else {
            return name.to_owned();
        };
        let kinds = [
            ("mpath-", "multipath"),
            ("LVM-", "LVM"),
            ("CRYPT-", "encryption"),
        ];
        let kind = kinds.iter().find(|(prefix, _)| uuid.starts_with(prefix));
        let kind = kind.map_or("device mapper", |(_, kind)| kind);
        format!("{name} ({kind} {})", text("dm/name").unwrap_or_default())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
