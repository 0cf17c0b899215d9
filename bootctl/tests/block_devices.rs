//! The enumeration of disks, on a folder laid out like sysfs: real paths from Linux 6.12, with
//! links from `/sys/block`.

use bootctl::sysfs::{BlockDevices, DiskNode, PartitionNode, Transport};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

struct Sysfs(tempfile::TempDir);

impl Sysfs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sys/block")).unwrap();
        Self(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Adds a device at `place` below `/sys/devices`, 1 MiB long, and its link.
    fn add(&self, place: &str) {
        let name = place.rsplit('/').next().unwrap();
        self.put(place, "size", "2048\n");
        symlink(
            self.path("sys/devices").join(place),
            self.path("sys/block").join(name),
        )
        .unwrap();
    }

    fn put(&self, place: &str, file: &str, text: &str) {
        let path = self.path("sys/devices").join(place).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn disks(&self) -> Vec<DiskNode> {
        BlockDevices::new(&self.path("sys"), Path::new("/dev"))
            .disks()
            .unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.disks().into_iter().map(|disk| disk.name).collect()
    }
}

const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
const NVME: &str = "pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1";
const STICK: &str = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host2/target2:0:0/2:0:0:0/block/sdb";
const EMMC: &str = "platform/fe330000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0";
const VIRTIO: &str = "pci0000:00/0000:00:02.0/virtio1/block/vda";

#[test]
fn disks_of_hardware_are_found_with_their_transport() {
    let sysfs = Sysfs::new();
    let expected = [
        (EMMC, Transport::Mmc),
        (NVME, Transport::Nvme),
        (SATA, Transport::Ata),
        (STICK, Transport::Usb),
        (VIRTIO, Transport::Virtio),
    ];
    for (place, _) in expected {
        sysfs.add(place);
    }
    let found: Vec<_> = sysfs
        .disks()
        .into_iter()
        .map(|disk| (disk.device_path, disk.transport))
        .collect();
    let devices = fs::canonicalize(sysfs.path("sys/devices")).unwrap();
    let expected = expected.map(|(place, transport)| (devices.join(place), Some(transport)));
    assert_eq!(found, expected);
}

#[test]
fn devices_that_are_not_disks_of_this_machine_are_left_out() {
    let sysfs = Sysfs::new();
    sysfs.add(SATA);
    for name in [
        "loop0", "ram0", "zram0", "md127", "dm-0", "nullb0", "zd0", "drbd0", "nbd0", "bcache0",
        "ublkb0",
    ] {
        sysfs.add(&format!("virtual/block/{name}"));
    }
    sysfs.add("rbd/0/block/rbd0");
    sysfs.add("virtual/mtd/mtd0/mtdblock0");
    sysfs.add("pci0000:00/0000:00:1f.5/spi_master/spi0/spi0.0/mtd/mtd1/mtdblock1");
    sysfs.add("platform/floppy.0/block/fd0");
    let optical = "pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block/sr0";
    sysfs.add(optical);
    sysfs.put(optical, "device/type", "5\n");
    sysfs.put(SATA, "device/type", "0\n");
    assert_eq!(sysfs.names(), ["sda"]);
}

#[test]
fn the_boot_areas_of_an_emmc_are_not_disks() {
    let sysfs = Sysfs::new();
    sysfs.add(EMMC);
    sysfs.add(&format!("{EMMC}/mmcblk0boot0"));
    sysfs.add(&format!("{EMMC}/mmcblk0boot1"));
    assert_eq!(sysfs.names(), ["mmcblk0"]);
    assert!(sysfs.disks()[0].partitions.is_empty());
}

#[test]
fn an_nvme_disk_with_two_paths_is_found_once() {
    let sysfs = Sysfs::new();
    sysfs.add("virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
    for path in ["nvme0/nvme0c0n1", "nvme1/nvme0c1n1"] {
        let place = format!("pci0000:00/0000:01:00.0/nvme/{path}");
        sysfs.add(&place);
        sysfs.put(&place, "hidden", "1\n");
    }
    assert_eq!(sysfs.names(), ["nvme0n1"]);
    assert_eq!(sysfs.disks()[0].transport, Some(Transport::Nvme));
}

#[test]
fn a_reader_without_a_card_is_not_a_disk() {
    let sysfs = Sysfs::new();
    sysfs.add(STICK);
    sysfs.put(STICK, "size", "0\n");
    assert!(sysfs.names().is_empty());
}

#[test]
fn all_that_the_kernel_shows_of_a_disk_is_returned() {
    let sysfs = Sysfs::new();
    sysfs.add(SATA);
    for (file, text) in [
        ("dev", "8:0\n"),
        ("uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n"),
        ("queue/logical_block_size", "4096\n"),
        ("removable", "1\n"),
        ("ro", "1\n"),
        ("device/model", "Disk of a test  \n"),
        ("device/serial", "T-1\n"),
        ("device/wwid", "naa.5000c500a1b2c3d4\n"),
        ("holders/md0/x", ""),
        ("sda10/partition", "10\n"),
        ("sda10/size", "8\n"),
        ("sda2/partition", "2\n"),
        ("sda2/start", "2048\n"),
        ("sda2/size", "4096\n"),
        ("sda2/dev", "8:2\n"),
        ("sda2/uevent", "DEVNAME=sda2\nPARTN=2\nPARTNAME=root-a\n"),
        ("sda2/holders/dm-0/x", ""),
        ("queue/partition-of-a-test", ""),
    ] {
        sysfs.put(SATA, file, text);
    }
    let partition = |name: &str, number, size| PartitionNode {
        name: name.to_owned(),
        path: Path::new("/dev").join(name),
        device_number: String::new(),
        number,
        start: 0,
        size,
        label: None,
        holders: Vec::new(),
    };
    let expected = DiskNode {
        name: "sda".to_owned(),
        path: "/dev/sda".into(),
        device_path: fs::canonicalize(sysfs.path("sys/devices").join(SATA)).unwrap(),
        device_number: "8:0".to_owned(),
        size: 1 << 20,
        sector_size: 4096,
        removable: true,
        read_only: true,
        model: Some("Disk of a test".to_owned()),
        serial: Some("T-1".to_owned()),
        wwid: Some("naa.5000c500a1b2c3d4".to_owned()),
        transport: Some(Transport::Ata),
        holders: vec!["md0".to_owned()],
        partitions: vec![
            PartitionNode {
                device_number: "8:2".to_owned(),
                start: 1 << 20,
                label: Some("root-a".to_owned()),
                holders: vec!["dm-0".to_owned()],
                ..partition("sda2", 2, 2 << 20)
            },
            partition("sda10", 10, 4096),
        ],
    };
    assert_eq!(sysfs.disks(), [expected]);
}

#[test]
fn a_slash_in_a_name_is_an_exclamation_mark_in_sysfs() {
    let sysfs = Sysfs::new();
    sysfs.add("pci0000:00/0000:03:00.0/block/cciss!c0d0");
    assert_eq!(sysfs.disks()[0].path, Path::new("/dev/cciss/c0d0"));
}

#[test]
fn a_system_without_block_devices_is_an_error_that_names_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = BlockDevices::new(folder.path(), Path::new("/dev"))
        .disks()
        .unwrap_err();
    let words = format!("{}: ", folder.path().join("block").display());
    assert!(error.to_string().starts_with(&words), "{error}");
}
