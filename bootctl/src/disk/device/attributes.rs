//! What sysfs shows of an open device.

use std::path::Path;

/// Returns whether the block device with this number is write-protected. *Reads.*
pub(super) fn is_write_protected(number: u64) -> bool {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let path = format!("/sys/dev/block/{major}:{minor}/ro");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// Returns whether the block device with this number, or the disk that it is a partition of, is
/// rotating according to sysfs at `sys`. *Reads.* A virtio disk reports itself as rotating whatever
/// it is, and counts as not rotating.
pub(super) fn is_rotating(sys: &Path, number: u64) -> bool {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let link = sys.join(format!("dev/block/{major}:{minor}"));
    let Ok(device) = link.canonicalize() else {
        return false;
    };
    let is_virtio = device
        .iter()
        .any(|part| part.to_str().is_some_and(|part| part.starts_with("virtio")));
    let reports_it = |folder: &Path| {
        std::fs::read_to_string(folder.join("queue/rotational"))
            .is_ok_and(|text| text.trim() == "1")
    };
    !is_virtio && (reports_it(&device) || device.parent().is_some_and(reports_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_and_its_partitions_are_rotating_if_sysfs_reports_it_and_they_are_not_virtual() {
        let sys = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        for (minor, folder, queue, rotational) in [
            (
                0,
                "devices/pci0/ata1/block/sda",
                "devices/pci0/ata1/block/sda",
                "1\n",
            ),
            (
                1,
                "devices/pci0/ata1/block/sda/sda1",
                "devices/pci0/ata1/block/sda",
                "1\n",
            ),
            (
                2,
                "devices/pci0/nvme/nvme0n1",
                "devices/pci0/nvme/nvme0n1",
                "0\n",
            ),
            (
                3,
                "devices/pci0/virtio3/block/vda",
                "devices/pci0/virtio3/block/vda",
                "1\n",
            ),
        ] {
            let [folder, queue] = [folder, queue].map(|path| sys.path().join(path));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::create_dir_all(queue.join("queue")).unwrap();
            std::fs::write(queue.join("queue/rotational"), rotational).unwrap();
            std::os::unix::fs::symlink(&folder, sys.path().join(format!("dev/block/8:{minor}")))
                .unwrap();
        }
        let says =
            [0, 1, 2, 3, 4].map(|minor| is_rotating(sys.path(), rustix::fs::makedev(8, minor)));
        assert_eq!(says, [true, true, false, false, false]);
    }
}
