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
    /// Its world-wide name, such as `naa.5002538e40a1b2c3` or `eui.0025385b71b0a1c2`.
    #[serde(rename = "wwn")]
    pub wwid: Option<String>,
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
    /// Returns what identifies it best to a person and in an answers file: its serial number, else
    /// its world-wide name, else its kernel name.
    #[must_use]
    pub fn id(&self) -> &str {
        let names = self.serial.as_deref().or(self.wwid.as_deref());
        names.unwrap_or(&self.name)
    }

    /// Returns whether `id` names this disk: its serial number, its world-wide name (also as
    /// `lsblk` shows it, `0x...`), or its kernel name where it has neither. *Pure.*
    ///
    /// More than one disk can answer to an id: cheap sticks share serial numbers, and namespaces of
    /// one NVMe controller do.
    #[must_use]
    pub fn answers_to(&self, id: &str) -> bool {
        let is_wwid = |wwid: &String| {
            wwid == id
                || id
                    .strip_prefix("0x")
                    .is_some_and(|id| wwid.strip_prefix("naa.") == Some(id))
        };
        self.id() == id
            || self.serial.as_deref() == Some(id)
            || self.wwid.as_ref().is_some_and(is_wwid)
    }

    /// Returns whether it may be a stick or card that lies in the machine by chance.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        self.rm || self.tran == Some("usb")
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

/// Returns whether a node is a disk that could hold a system. *Reads.*
///
/// It is none if the kernel hides it (a path of a multipath NVMe, which has no device node), if it
/// is made of other devices or of memory (below `/sys/devices/virtual`), an optical or floppy
/// drive, a network block device, or a boot or replay-protected area of an eMMC.
fn is_disk(dir: &Path, name: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "nullb", "rbd", "zd", "drbd",
        "bcache",
    ];
    let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let is_virtual = real.components().any(|part| part.as_os_str() == "virtual");
    let is_emmc_area = name.starts_with("mmcblk")
        && (name.contains("boot") || name.contains("rpmb") || name.contains("gp"));
    !(is_virtual
        || is_emmc_area
        || number(dir, "hidden") == Some(1)
        || OTHERS.iter().any(|prefix| name.starts_with(prefix)))
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
        if is_disk(&entry.path(), &name)
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
        serial: first(&["device/serial", "serial"]).or_else(|| unit_serial(dir)),
        wwid: first(&["wwid", "device/wwid", "nguid", "eui"]).map(|text| {
            // Identifiers made of vendor and model are padded.
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        }),
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

/// The serial number of a SATA or SAS disk: the unit serial number page of its vital product data
/// (SPC-4, 7.8.18), which the kernel hands on as it is.
fn unit_serial(dir: &Path) -> Option<String> {
    let page = fs::read(dir.join("device/vpd_pg80")).ok()?;
    let [_, 0x80, high, low] = *page.first_chunk()? else {
        return None;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let serial = page.get(4..4 + len).or(page.get(4..))?;
    let serial = String::from_utf8_lossy(serial);
    let serial = serial.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let is_text = !serial.is_empty() && !serial.contains(char::is_control);
    is_text.then(|| serial.to_owned())
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
    mounts: Vec<Mount>,
    swaps: Vec<String>,
    /// Devices of mounted btrfs file systems, by kernel name: only one of them is a mount's source.
    btrfs: Vec<String>,
}

/// A mount, from `/proc/self/mountinfo` (proc(5)).
struct Mount {
    /// `major:minor`; an anonymous number where a file system manages its devices itself.
    device: String,
    at: String,
    /// Kernel name of its source, where that is a device.
    source: Option<String>,
}

impl Mount {
    fn parse(line: &str, roots: &Roots) -> Option<Self> {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ');
        let (device, at) = (fields.nth(2)?.to_owned(), fields.nth(1)?.to_owned());
        let source = rest.split(' ').nth(1).unwrap_or_default();
        let source = source.strip_prefix("/dev/").map(|name| {
            let path = roots.dev.join(name);
            let real = fs::canonicalize(&path).unwrap_or(path);
            let name = real.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        });
        Some(Self { device, at, source })
    }
}

impl Uses {
    fn read(roots: &Roots) -> Self {
        let mountinfo = fs::read_to_string(roots.proc.join("self/mountinfo")).unwrap_or_default();
        let mounts = mountinfo
            .lines()
            .filter_map(|line| Mount::parse(line, roots));
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let btrfs = roots.sys.join("fs/btrfs");
        let btrfs = names(&btrfs)
            .into_iter()
            .flat_map(|id| names(&btrfs.join(id).join("devices")));
        let btrfs = btrfs.collect();
        let swaps = fs::read_to_string(roots.proc.join("swaps")).unwrap_or_default();
        let swapped = swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        let swapped = swapped.filter_map(|path| path.strip_prefix("/dev/"));
        Self {
            mounts: mounts.collect(),
            swaps: swapped.map(str::to_owned).collect(),
            btrfs,
        }
    }

    fn of(&self, name: &str, dir: &Path) -> Vec<Use> {
        let number = text(dir, "dev").unwrap_or_default();
        let is_it =
            |mount: &&Mount| mount.device == number || mount.source.as_deref() == Some(name);
        let mounted = self.mounts.iter().filter(is_it);
        let mut uses: Vec<Use> = mounted
            .map(|mount| Use::Mounted(mount.at.clone()))
            .collect();
        if uses.is_empty() && self.btrfs.iter().any(|device| device == name) {
            uses.push(Use::HeldBy(
                "a btrfs file system that is mounted".to_owned(),
            ));
        }
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
        wwid: None,
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
        put("sys/block/nvme0c0n1/size", "2097152\n");
        put("sys/block/nvme0c0n1/hidden", "1\n");
        put("sys/block/mmcblk0boot0/size", "8192\n");
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

    #[test]
    fn a_mount_is_seen_by_its_source_and_by_its_file_system() {
        let (dir, roots) = fixture();
        let mountinfo =
            "30 1 0:28 /root / rw,relatime shared:1 - btrfs /dev/sda2 rw,subvol=/root\n";
        fs::write(roots.proc.join("self/mountinfo"), mountinfo).expect("file");
        let member = dir.path().join("sys/fs/btrfs/uuid/devices/sda1");
        fs::create_dir_all(member).expect("directories");
        let disks = enumerate(&roots).expect("disks");
        let busy: Vec<String> = disks[0]
            .busy()
            .map(|(name, used)| format!("{name} {used}"))
            .collect();
        assert_eq!(
            busy[0],
            "sda1 in use by a btrfs file system that is mounted"
        );
        assert_eq!(busy[1], "sda2 mounted on /");
    }

    #[test]
    fn a_sata_disk_has_the_serial_number_of_its_vital_product_data() {
        let (dir, roots) = fixture();
        let device = dir.path().join("sys/block/sda/device");
        fs::remove_file(device.join("serial")).expect("file");
        fs::write(device.join("wwid"), "naa.5002538e40a1b2c3\n").expect("file");
        fs::write(device.join("vpd_pg80"), b"\0\x80\0\x14MADEUPSERIAL01      ").expect("file");
        let disk = &enumerate(&roots).expect("disks")[0];
        assert_eq!(disk.id(), "MADEUPSERIAL01");
        for id in [
            "MADEUPSERIAL01",
            "naa.5002538e40a1b2c3",
            "0x5002538e40a1b2c3",
        ] {
            assert!(disk.answers_to(id), "{id}");
        }
        assert!(!disk.answers_to("sda"), "kernel names are not stable");
    }
}
