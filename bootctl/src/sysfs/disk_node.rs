//! One disk as the kernel shows it.

use std::fs;
use std::path::{Path, PathBuf};

/// SCSI peripheral device type of an optical drive (SPC-6, table 56).
const OPTICAL: u64 = 5;
/// sysfs counts in units of this many bytes, whatever the sectors of the disk.
pub(super) const UNIT: u64 = 512;

/// A whole disk. All text is as the device gives it, without spaces at its ends; it may hold
/// control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskNode {
    /// Name in sysfs, such as `sda` or `nvme0n1`.
    pub name: String,
    /// Device node, such as `/dev/sda`.
    pub path: PathBuf,
    /// Folder of the device in sysfs, links resolved: how it is attached.
    pub device_path: PathBuf,
    /// `major:minor`, as in `/proc/self/mountinfo`.
    pub device_number: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// Whether the disk cannot be written.
    pub read_only: bool,
    /// Name of the model.
    pub model: Option<String>,
    /// Serial number. SCSI and ATA disks show none here; they have a `wwid`.
    pub serial: Option<String>,
    /// World-wide identifier.
    pub wwid: Option<String>,
    /// How the disk is connected; `None` if that is not known.
    pub transport: Option<Transport>,
    /// Names of the devices that are built on the whole disk: RAID, LVM, encryption.
    pub holders: Vec<String>,
    /// Its partitions, in the order of their numbers.
    pub partitions: Vec<PartitionNode>,
}

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionNode {
    /// Name in sysfs, such as `sda1`.
    pub name: String,
    /// Device node.
    pub path: PathBuf,
    /// `major:minor`.
    pub device_number: String,
    /// Number in the partition table, from 1.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Name in the partition table.
    pub label: Option<String>,
    /// Names of the devices that are built on it.
    pub holders: Vec<String>,
}

/// How a disk is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SATA or PATA.
    Ata,
    /// SD card or eMMC.
    Mmc,
    /// NVMe.
    Nvme,
    /// USB.
    Usb,
    /// A disk of a virtual machine.
    Virtio,
}

impl Transport {
    /// Returns the word that `lsblk` uses. *Pure.*
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ata => "ata",
            Self::Mmc => "mmc",
            Self::Nvme => "nvme",
            Self::Usb => "usb",
            Self::Virtio => "virtio",
        }
    }

    /// The transport of the device at this path in sysfs.
    fn of(device_path: &Path) -> Option<Self> {
        // USB first: a USB bridge shows an ATA or NVMe disk behind itself.
        let buses = [
            ("usb", Self::Usb),
            ("nvme", Self::Nvme),
            ("ata", Self::Ata),
            ("virtio", Self::Virtio),
            ("mmc", Self::Mmc),
        ];
        // A bus is followed by its number: `ata1`, but not `atariki`.
        let is_bus = |part: &str, bus: &str| {
            part.strip_prefix(bus)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let parts = || device_path.iter().filter_map(|part| part.to_str());
        buses
            .into_iter()
            .find(|(bus, _)| parts().any(|part| is_bus(part, bus)))
            .map(|(_, transport)| transport)
    }
}

impl DiskNode {
    /// Reads the disk at `folder` in sysfs, with device nodes under `dev`; `None` if it is not a
    /// disk as this module defines it, or went away. *Reads.*
    pub(super) fn read(folder: &Path, dev: &Path) -> Option<Self> {
        let name = folder.file_name()?.to_str()?.to_owned();
        let device_path = fs::canonicalize(folder).ok()?;
        let size = number(folder, "size")?.checked_mul(UNIT)?;
        if size == 0 || number(folder, "hidden") == Some(1) || !is_hardware(&device_path) {
            return None;
        }
        let first = |files: [&str; 2]| files.iter().find_map(|file| text(folder, file));
        Some(Self {
            path: node(folder, &name, dev),
            device_number: text(folder, "dev").unwrap_or_default(),
            size,
            sector_size: number(folder, "queue/logical_block_size")
                .and_then(|size| u32::try_from(size).ok())
                .unwrap_or(512),
            removable: number(folder, "removable") == Some(1),
            read_only: number(folder, "ro") == Some(1),
            model: first(["device/model", "device/name"]),
            serial: first(["device/serial", "serial"]),
            wwid: first(["device/wwid", "wwid"]),
            transport: Transport::of(&device_path),
            holders: holders(folder),
            partitions: partitions(folder, dev),
            device_path,
            name,
        })
    }
}

/// Returns kernel name and device node of the optical drive at `folder` in sysfs; `None` if it is
/// another device, or without a disc. *Reads.*
pub(super) fn optical_drive(folder: &Path, dev: &Path) -> Option<(String, PathBuf)> {
    let name = folder.file_name()?.to_str()?.to_owned();
    let is_optical = number(folder, "device/type") == Some(OPTICAL);
    let has_disc = number(folder, "size").is_some_and(|size| size > 0);
    (is_optical && has_disc).then(|| (name.clone(), node(folder, &name, dev)))
}

/// Returns whether the device at this path belongs to hardware and is a whole disk; the table in
/// [`crate::sysfs`] explains the cases.
fn is_hardware(device_path: &Path) -> bool {
    let parts: Vec<&str> = device_path
        .iter()
        .filter_map(|part| part.to_str())
        .collect();
    let [above @ .., _] = parts.as_slice() else {
        return false;
    };
    let is_flash = |part: &&str| {
        part.strip_prefix("mtd")
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    let is_floppy = |part: &&str| part.starts_with("floppy.");
    let is_part_of_a_disk = device_path
        .parent()
        .is_some_and(|parent| parent.join("size").exists());
    !above.ends_with(&["virtual", "block"])
        && !above.windows(2).any(|pair| pair == ["devices", "rbd"])
        && !above.iter().any(is_flash)
        && !above.iter().any(is_floppy)
        && number(device_path, "device/type") != Some(OPTICAL)
        && !is_part_of_a_disk
}

fn partitions(folder: &Path, dev: &Path) -> Vec<PartitionNode> {
    let children = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PartitionNode> = children
        .filter_map(|entry| partition(&entry.path(), dev))
        .collect();
    found.sort_unstable_by_key(|partition| partition.number);
    found
}

fn partition(folder: &Path, dev: &Path) -> Option<PartitionNode> {
    let number_of_it = number(folder, "partition")?;
    let name = folder.file_name()?.to_str()?.to_owned();
    Some(PartitionNode {
        path: node(folder, &name, dev),
        device_number: text(folder, "dev").unwrap_or_default(),
        number: u32::try_from(number_of_it).ok()?,
        start: number(folder, "start").unwrap_or(0).checked_mul(UNIT)?,
        size: number(folder, "size")?.checked_mul(UNIT)?,
        label: uevent(folder, "PARTNAME"),
        holders: holders(folder),
        name,
    })
}

fn holders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("holders"));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// The device node. A slash in a device's name is a `!` in sysfs.
fn node(folder: &Path, name: &str, dev: &Path) -> PathBuf {
    dev.join(uevent(folder, "DEVNAME").unwrap_or_else(|| name.replace('!', "/")))
}

fn uevent(folder: &Path, key: &str) -> Option<String> {
    let lines = text(folder, "uevent")?;
    lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(found, _)| *found == key)
        .map(|(_, value)| value.to_owned())
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file)?.parse().ok()
}

fn text(folder: &Path, file: &str) -> Option<String> {
    let bytes = fs::read(folder.join(file)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
