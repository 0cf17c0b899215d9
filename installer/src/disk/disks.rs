//! The disks of this machine, read from sysfs and procfs: no udev and no helper programs, so that
//! it works in an initramfs, and against a directory of fixtures in tests.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel's views of the machine are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

/// A whole disk. Names of the fields are those of `lsblk --json`; sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Kernel name, such as `sda`.
    pub name: String,
    /// Device node.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Bytes in a logical sector.
    #[serde(rename = "log-sec")]
    pub sector_size: u32,
    /// What the disk calls itself.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// How it is connected: `usb`, `nvme`, `ata`, `virtio`, or nothing where that is not known.
    pub tran: Option<&'static str>,
    /// Whether it says that its medium can be taken out.
    pub rm: bool,
    /// Whether it cannot be written.
    pub ro: bool,
    /// Its partitions.
    pub children: Vec<Part>,
    /// What keeps the whole disk busy.
    pub uses: Vec<Use>,
}

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Kernel name, such as `sda1`.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Its label in the partition table.
    pub partlabel: Option<String>,
    /// What keeps it busy.
    pub uses: Vec<Use>,
}

/// What a disk or partition is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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

impl Disk {
    /// What identifies it best to a person and in an answers file: its serial number, else its
    /// kernel name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.serial.as_deref().unwrap_or(&self.name)
    }

    /// Everything that keeps the disk or a part of it busy, with the name of that part.
    pub fn busy(&self) -> impl Iterator<Item = (&str, &Use)> {
        let parts = self
            .children
            .iter()
            .flat_map(|part| part.uses.iter().map(|used| (part.name.as_str(), used)));
        self.uses
            .iter()
            .map(|used| (self.name.as_str(), used))
            .chain(parts)
    }
}

/// The disks that could hold a system, in the order of their names. *Reads.* Loop devices, RAM
/// disks, optical drives and empty card readers are left out.
///
/// # Errors
/// What reading `/sys/block` says; a disk that goes away meanwhile is left out.
pub fn enumerate(roots: &Roots) -> std::io::Result<Vec<Disk>> {
    let uses = Uses::read(roots);
    let mut disks = Vec::new();
    for entry in fs::read_dir(roots.sys.join("block"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let virtual_disk = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
        if !virtual_disk.iter().any(|prefix| name.starts_with(prefix))
            && let Some(disk) = read_disk(roots, &entry.path(), name, &uses)
        {
            disks.push(disk);
        }
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

fn read_disk(roots: &Roots, dir: &Path, name: String, uses: &Uses) -> Option<Disk> {
    let size = number(dir, "size")?.checked_mul(512)?;
    if size == 0 {
        return None;
    }
    let mut children: Vec<Part> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("partition").exists())
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = number(&entry.path(), "size")?.checked_mul(512)?;
            let partlabel = uevent(&entry.path()).remove("PARTNAME");
            Some(Part {
                uses: uses.of(&name, &entry.path()),
                name,
                size,
                partlabel,
            })
        })
        .collect();
    children.sort_by_key(|part| (part.name.len(), part.name.clone()));
    let first = |files: &[&str]| files.iter().find_map(|file| text(dir, file));
    Some(Disk {
        path: roots.dev.join(&name),
        size,
        sector_size: number(dir, "queue/logical_block_size").unwrap_or(512) as u32,
        model: first(&["device/model", "device/name"]),
        serial: first(&["device/serial", "serial", "device/wwid", "wwid"]),
        tran: transport(dir, &name),
        rm: number(dir, "removable") == Some(1),
        ro: number(dir, "ro") == Some(1),
        uses: uses.of(&name, dir),
        children,
        name,
    })
}

fn transport(dir: &Path, name: &str) -> Option<&'static str> {
    let path = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let path = path.to_string_lossy();
    if name.starts_with("nvme") {
        return Some("nvme");
    }
    [
        ("/usb", "usb"),
        ("/ata", "ata"),
        ("/virtio", "virtio"),
        ("/mmc", "mmc"),
    ]
    .into_iter()
    .find_map(|(part, tran)| path.contains(part).then_some(tran))
}

fn text(dir: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(dir.join(file)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(dir: &Path, file: &str) -> Option<u64> {
    text(dir, file)?.parse().ok()
}

fn uevent(dir: &Path) -> BTreeMap<String, String> {
    let lines = text(dir, "uevent").unwrap_or_default();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What is mounted or swapped to, by `major:minor` and by name.
struct Uses {
    mounts: Vec<(String, String)>,
    swaps: Vec<String>,
}

impl Uses {
    fn read(roots: &Roots) -> Self {
        let mountinfo = fs::read_to_string(roots.proc.join("self/mountinfo")).unwrap_or_default();
        let mounts = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.nth(2)?.to_owned(), fields.nth(1)?.to_owned()))
        });
        let swaps = fs::read_to_string(roots.proc.join("swaps")).unwrap_or_default();
        let names = swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        let names = names.filter_map(|path| path.strip_prefix("/dev/"));
        Self {
            mounts: mounts.collect(),
            swaps: names.map(str::to_owned).collect(),
        }
    }

    fn of(&self, name: &str, dir: &Path) -> Vec<Use> {
        let number = text(dir, "dev").unwrap_or_default();
        let mounted = self.mounts.iter().filter(|(device, _)| *device == number);
        let mut uses: Vec<Use> = mounted.map(|(_, at)| Use::Mounted(at.clone())).collect();
        if self.swaps.iter().any(|swap| swap == name) {
            uses.push(Use::Swap);
        }
        let holders = fs::read_dir(dir.join("holders"))
            .into_iter()
            .flatten()
            .flatten();
        uses.extend(
            holders.map(|holder| Use::HeldBy(holder.file_name().to_string_lossy().into_owned())),
        );
        uses
    }
}

/// A made-up machine, for trying the planner out without looking at a single real disk.
#[must_use]
pub fn sample() -> Vec<Disk> {
    let disk = |name: &str, size, model: &str, serial: &str, tran, rm| Disk {
        name: name.to_owned(),
        path: Path::new("/dev").join(name),
        size,
        sector_size: 512,
        model: Some(model.to_owned()),
        serial: Some(serial.to_owned()),
        tran: Some(tran),
        rm,
        ro: false,
        children: Vec::new(),
        uses: Vec::new(),
    };
    vec![
        disk(
            "nvme0n1",
            256_060_514_304,
            "Sample NVMe",
            "SAMPLE-NVME-0001",
            "nvme",
            false,
        ),
        disk(
            "sda",
            15_728_640_000,
            "Sample USB stick",
            "SAMPLE-USB-0002",
            "usb",
            true,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().expect("directory");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directories");
            fs::write(path, text).expect("file");
        };
        for (file, text) in [
            ("size", "2097152\n"),
            ("ro", "0\n"),
            ("removable", "1\n"),
            ("dev", "8:0\n"),
            ("queue/logical_block_size", "4096\n"),
            ("device/model", "Disk of a test  \n"),
            ("device/serial", "T-1\n"),
            ("sda1/partition", "1\n"),
            ("sda1/size", "2048\n"),
            ("sda1/dev", "8:1\n"),
            ("sda1/uevent", "MAJOR=8\nPARTN=1\nPARTNAME=esp\n"),
            ("sda2/partition", "2\n"),
            ("sda2/size", "2048\n"),
            ("sda2/dev", "8:2\n"),
            ("sda2/holders/dm-0/x", ""),
        ] {
            put(&format!("sys/block/sda/{file}"), text);
        }
        put("sys/block/loop0/size", "100\n");
        put("sys/block/sdb/size", "0\n");
        put(
            "proc/self/mountinfo",
            "36 35 8:1 / /mnt/x rw,noatime master:1 - ext3 /dev/root rw\n",
        );
        put(
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
        );
        let roots = Roots {
            sys: dir.path().join("sys"),
            proc: dir.path().join("proc"),
            dev: dir.path().join("dev"),
        };
        (dir, roots)
    }

    #[test]
    fn a_disk_is_read_with_all_that_keeps_it_busy() {
        let (_dir, roots) = fixture();
        let disks = enumerate(&roots).expect("disks");
        assert_eq!(
            disks.len(),
            1,
            "loop devices and empty readers are left out"
        );
        let disk = &disks[0];
        assert_eq!(
            (disk.size, disk.sector_size, disk.rm, disk.ro),
            (1 << 30, 4096, true, false)
        );
        assert_eq!(
            (disk.model.as_deref(), disk.id()),
            (Some("Disk of a test"), "T-1")
        );
        assert_eq!(disk.children[0].partlabel.as_deref(), Some("esp"));
        let busy: Vec<String> = disk
            .busy()
            .map(|(name, used)| format!("{name} {used}"))
            .collect();
        assert_eq!(
            busy,
            [
                "sda1 mounted on /mnt/x",
                "sda2 used as swap space",
                "sda2 in use by dm-0"
            ]
        );
    }
}
