//! The disks of this machine, read from sysfs and procfs: no udev and no helper programs, so that
//! it works in an initramfs, and against a folder of fixtures in tests.

use super::usage::Usage;

pub use super::usage::Use;

use bootctl::sysfs::{BlockDevices, DiskNode, FindError, PartitionNode};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Mount points of the file systems in which the kernel describes the machine.
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
    /// Name of the model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world-wide name, such as `naa.5002538e40a1b2c3` or `eui.0025385b71b0a1c2`.
    #[serde(rename = "wwn")]
    pub wwid: Option<String>,
    /// How it is connected: `usb`, `nvme`, `ata`, `virtio`, or nothing if that is not known.
    pub tran: Option<&'static str>,
    /// Whether its medium can be taken out.
    pub rm: bool,
    /// Whether it cannot be written.
    pub ro: bool,
    /// Its partitions.
    pub children: Vec<DiskPart>,
    /// What the whole disk is in use for.
    pub uses: Vec<Use>,
}

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskPart {
    /// Kernel name, such as `sda1`.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Its label in the partition table.
    pub partlabel: Option<String>,
    /// What it is in use for.
    pub uses: Vec<Use>,
}

impl Disk {
    /// Returns its name for people and answers files: the serial number, else the world-wide name,
    /// else the kernel name. *Pure.*
    #[must_use]
    pub fn id(&self) -> &str {
        let names = self.serial.as_deref().or(self.wwid.as_deref());
        names.unwrap_or(&self.name)
    }

    /// Returns whether `id` names this disk: its serial number, its world-wide name (also as
    /// `lsblk` shows it, `0x...`), or its kernel name if it has neither. *Pure.*
    ///
    /// More than one disk can answer to an id: cheap sticks share serial numbers, and namespaces of
    /// one NVMe controller do as well.
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

    /// Returns whether it may be a stick or card that was left in the machine.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        self.rm || self.tran == Some("usb")
    }

    /// Returns everything that the disk or a partition is in use for, with the name of that device.
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

/// Returns the disks that could hold a system, in the order of their names. *Reads.*
/// [`bootctl::sysfs`] says which block devices are disks.
///
/// # Errors
/// [`FindError::Io`] if the list cannot be read; a disk that goes away meanwhile is left out.
pub fn enumerate(roots: &Roots) -> Result<Vec<Disk>, FindError> {
    let usage = Usage::read(&roots.sys, &roots.proc, &roots.dev);
    let nodes = BlockDevices::new(&roots.sys, &roots.dev).disks()?;
    Ok(nodes
        .into_iter()
        .map(|node| Disk::new(node, &usage))
        .collect())
}

impl Disk {
    fn new(node: DiskNode, usage: &Usage) -> Self {
        let folder = &node.device_path;
        let wwid = node.wwid.clone();
        let wwid = wwid.or_else(|| text(folder, "nguid").or_else(|| text(folder, "eui")));
        Self {
            uses: usage.of(&node.name, &node.device_number, &node.holders),
            children: node
                .partitions
                .iter()
                .map(|partition| DiskPart::new(partition, usage))
                .collect(),
            serial: node.serial.clone().or_else(|| unit_serial(folder)),
            // Identifiers made of vendor and model are padded.
            wwid: wwid.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
            tran: node.transport.map(|transport| transport.as_str()),
            name: node.name,
            path: node.path,
            size: node.size,
            sector_size: node.sector_size,
            model: node.model,
            // The kernel calls the cards of a card slot fixed disks, as it does a soldered eMMC.
            rm: node.removable || text(folder, "device/type").as_deref() == Some("SD"),
            ro: node.read_only,
        }
    }
}

impl DiskPart {
    fn new(node: &PartitionNode, usage: &Usage) -> Self {
        Self {
            uses: usage.of(&node.name, &node.device_number, &node.holders),
            name: node.name.clone(),
            size: node.size,
            partlabel: node.label.clone(),
        }
    }
}

fn text(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the serial number of a SATA or SAS disk: a page of its vital product data (SPC-4,
/// 7.8.18), which the kernel passes on unchanged. *Reads.*
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

/// Returns the disks of a sample machine, for a plan that reads no real disk. *Pure.*
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
        put("sys/block/nvme0c0n1/size", "2097152\n");
        put("sys/block/nvme0c0n1/hidden", "1\n");
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
            "hidden paths and empty readers are left out"
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
    fn a_card_is_removable_although_the_kernel_calls_it_fixed() {
        let (dir, roots) = fixture();
        let folder = dir.path().join("sys/block/sda");
        fs::write(folder.join("removable"), "0\n").expect("file");
        for (kind, removable) in [("SD", true), ("MMC", false)] {
            fs::write(folder.join("device/type"), kind).expect("file");
            let disk = &enumerate(&roots).expect("disks")[0];
            assert_eq!(disk.is_removable(), removable, "{kind}");
        }
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
