//! The device that the firmware started this system from, as the boot guard publishes it.

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::efivars::{EfiVars, LOADER_INTERFACE, VarError, VarName};
use bootctl::sysfs::{BlockDevices, DiskNode, FindError};
use installer::disk::disks::Roots;
use installer::disk::table::ExistingTable;
use record::{Guid, Handoff};
use std::path::PathBuf;

/// Name of the variable: PARTUUID of the partition with the boot guard, as text. Part of the Boot
/// Loader Interface, <https://systemd.io/BOOT_LOADER_INTERFACE>.
const VARIABLE: &str = "LoaderDevicePartUUID";
/// Length of a GUID as text.
const TEXT_LEN: usize = 36;

/// The device that this system was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The partition with this PARTUUID.
    Partition(Guid),
    /// A device whose partitions have no GUID: an optical disc, or a stick without a GPT.
    Unnamed,
}

/// Why the origin is not known.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The variable cannot be read.
    #[error("variable {VARIABLE}: {0}")]
    Read(#[from] VarError),
    /// Another program wrote the variable, or it is not a PARTUUID.
    #[error("variable {VARIABLE}: not a volatile variable with a PARTUUID")]
    NotOurs,
    /// The block devices cannot be listed.
    #[error("list of disks: {0}")]
    Disks(#[from] FindError),
    /// Several disks have the partition: one is a copy of the other.
    #[error("partition {uuid} is on {} and {}: detach one of them", first.display(), second.display())]
    Twice {
        /// PARTUUID.
        uuid: Guid,
        /// The first disk.
        first: PathBuf,
        /// The second disk.
        second: PathBuf,
    },
}

/// A device node that may have a file system with the medium's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Device node.
    pub path: PathBuf,
    /// Kernel name of its disk.
    pub disk: String,
}

impl Origin {
    /// Returns the origin that the boot guard published. *Reads* one variable.
    ///
    /// # Errors
    /// [`OriginError::Read`], [`OriginError::NotOurs`].
    pub fn read(vars: &dyn EfiVars) -> Result<Self, OriginError> {
        let name = VarName {
            name: VARIABLE.to_owned(),
            vendor: LOADER_INTERFACE,
        };
        let Some(variable) = vars.get(&name)? else {
            return Ok(Self::Unnamed);
        };
        let is_volatile = variable.attributes == Handoff::ATTRIBUTES;
        let uuid = text(&variable.data).and_then(|text| Guid::parse(&text));
        match uuid.filter(|_| is_volatile) {
            Some(uuid) => Ok(Self::Partition(uuid)),
            None => Err(OriginError::NotOurs),
        }
    }

    /// Returns the places where the medium's files may be, most likely first; none if the kernel
    /// does not show the device yet. *Reads* partition tables.
    ///
    /// If the partition is known, they are on its disk: no other disk's answers count. Otherwise
    /// they are everywhere.
    ///
    /// # Errors
    /// [`OriginError::Disks`], [`OriginError::Twice`].
    pub fn places(self, roots: &Roots) -> Result<Vec<Place>, OriginError> {
        let devices = BlockDevices::new(&roots.sys, &roots.dev);
        let disks = devices.disks()?;
        let Self::Partition(uuid) = self else {
            let optical = devices.optical_drives()?.into_iter();
            let optical = optical.map(|(disk, path)| Place { path, disk });
            return Ok(optical.chain(disks.iter().flat_map(places_on)).collect());
        };
        let mut found: Option<&DiskNode> = None;
        for disk in disks.iter().filter(|disk| has_partition(disk, uuid)) {
            if let Some(first) = found {
                return Err(OriginError::Twice {
                    uuid,
                    first: first.path.clone(),
                    second: disk.path.clone(),
                });
            }
            found = Some(disk);
        }
        Ok(found.map(places_on).unwrap_or_default())
    }
}

/// Returns the partitions of a disk, then the whole disk. A disk with partitions rarely has a file
/// system of its own, and the kernel would print an error for it on the console; the image of an
/// optical disc on a stick has one.
fn places_on(disk: &DiskNode) -> Vec<Place> {
    let partitions = disk.partitions.iter().map(|partition| &partition.path);
    partitions
        .chain([&disk.path])
        .map(|path| Place {
            path: path.clone(),
            disk: disk.name.clone(),
        })
        .collect()
}

/// Returns whether the table of a disk has a partition with this PARTUUID. A disk that cannot be
/// read has not.
fn has_partition(disk: &DiskNode, uuid: Guid) -> bool {
    let Ok(device) = FileDevice::open(&disk.path, Access::Read, SectorSize::Detect) else {
        return false;
    };
    let table = ExistingTable::read(&device);
    table
        .is_ok_and(|table| table.is_ok_and(|table| table.entries().any(|entry| entry.uuid == uuid)))
}

/// Returns the text of a variable: UTF-16LE with a terminating zero.
fn text(data: &[u8]) -> Option<String> {
    let units = data.chunks_exact(2);
    let units: Vec<u16> = units
        .filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)))
        .collect();
    let units = units.strip_suffix(&[0]).unwrap_or(&units);
    (units.len() == TEXT_LEN)
        .then(|| String::from_utf16(units).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootctl::efivars::{MemVars, Variable};
    use installer::disk::layout::{ALIGNMENT, PlannedDisk, PlannedPartition};
    use installer::disk::table::Table;
    use record::PartitionName;
    use std::fs;
    use std::path::Path;

    const STICK: Guid = Guid([1; 16]);
    const OTHER: Guid = Guid([2; 16]);

    /// Writes an image of a stick with one partition, and its folder in sysfs.
    fn stick(roots: &Roots, name: &str, uuid: Guid) {
        let size = 8 * ALIGNMENT;
        let folder = roots.sys.join("block").join(name);
        let partition = folder.join(format!("{name}1"));
        fs::create_dir_all(&partition).expect("folders");
        fs::create_dir_all(&roots.dev).expect("folder");
        fs::write(folder.join("size"), format!("{}\n", size / 512)).expect("file");
        for (file, text) in [("partition", "1"), ("start", "2048"), ("size", "2048")] {
            fs::write(partition.join(file), text).expect("file");
        }
        let image = roots.dev.join(name);
        fs::File::create(&image)
            .and_then(|file| file.set_len(size))
            .expect("image");
        let device = FileDevice::open(&image, Access::Write, SectorSize::Bytes(512)).expect("open");
        let esp = PlannedPartition {
            purpose: PartitionName::Esp,
            number: 1,
            offset: ALIGNMENT,
            size: ALIGNMENT,
            uuid,
        };
        let disk = PlannedDisk {
            disk_guid: uuid,
            install_id: uuid,
            size,
            sector_size: 512,
            partitions: vec![esp],
            kept: Vec::new(),
        };
        let table = Table::build(&disk).expect("table");
        table.commit(&device).expect("written");
    }

    fn roots(dir: &Path) -> Roots {
        Roots {
            sys: dir.join("sys"),
            proc: dir.join("proc"),
            dev: dir.join("dev"),
        }
    }

    fn names(places: &[Place]) -> Vec<String> {
        let names = places.iter().filter_map(|place| place.path.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn only_the_stick_that_was_started_is_searched() {
        let dir = tempfile::tempdir().expect("directory");
        let roots = roots(dir.path());
        stick(&roots, "sda", OTHER);
        stick(&roots, "sdb", STICK);
        let places = Origin::Partition(STICK).places(&roots).expect("places");
        assert_eq!(names(&places), ["sdb1", "sdb"]);
        assert!(places.iter().all(|place| place.disk == "sdb"));
        // The kernel does not show it yet.
        let absent = Origin::Partition(Guid([3; 16])).places(&roots);
        assert_eq!(absent.expect("places"), []);
    }

    #[test]
    fn a_stick_and_its_copy_are_both_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let roots = roots(dir.path());
        stick(&roots, "sda", STICK);
        stick(&roots, "sdb", STICK);
        let error = Origin::Partition(STICK).places(&roots).expect_err("twice");
        let words = error.to_string();
        assert!(words.contains("/dev/sda and "), "{words}");
        assert!(words.ends_with("/dev/sdb: detach one of them"), "{words}");
    }

    #[test]
    fn without_a_partition_optical_drives_come_first_and_then_all_disks() {
        let dir = tempfile::tempdir().expect("directory");
        let roots = roots(dir.path());
        stick(&roots, "sda", OTHER);
        let drive = roots.sys.join("block/sr0");
        fs::create_dir_all(drive.join("device")).expect("folders");
        fs::write(drive.join("size"), "4096").expect("file");
        fs::write(drive.join("device/type"), "5").expect("file");
        let places = Origin::Unnamed.places(&roots).expect("places");
        assert_eq!(names(&places), ["sr0", "sda1", "sda"]);
    }

    #[test]
    fn the_origin_is_read_from_a_volatile_variable_only() {
        let vars = MemVars::new();
        assert_eq!(Origin::read(&vars).expect("absent"), Origin::Unnamed);
        let name = VarName {
            name: VARIABLE.to_owned(),
            vendor: LOADER_INTERFACE,
        };
        let set = |text: &str, attributes| {
            let units = text.encode_utf16().chain([0]);
            let data = units.flat_map(u16::to_le_bytes).collect();
            vars.set(&name, &Variable { attributes, data })
                .expect("set");
        };
        set(&STICK.to_string(), 6);
        let found = Origin::read(&vars).expect("origin");
        assert_eq!(found, Origin::Partition(STICK));
        set(&STICK.to_string().to_uppercase(), 6);
        assert_eq!(Origin::read(&vars).expect("origin"), found);
        for (text, attributes) in [(STICK.to_string().as_str(), 7), ("", 6), ("x", 6)] {
            set(text, attributes);
            let error = Origin::read(&vars).expect_err("not ours");
            assert!(matches!(error, OriginError::NotOurs), "{text}: {error}");
        }
    }
}
