//! Partition tables whose second copy is missing or in the wrong place, made by sgdisk and judged by
//! it.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::{Disk, TableRepair};
use record::gpt::{Partitions, Search};
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MIB: usize = 1 << 20;
const LARGE: usize = 20 * MIB;

/// The disk of the fixture, 16 MiB, on a disk of 20 MiB.
fn larger() -> Vec<u8> {
    let mut bytes = fixture::image();
    bytes.resize(LARGE, 0);
    bytes
}

fn open(bytes: &[u8]) -> Disk {
    search(Arc::new(MemDevice::from_bytes(bytes.to_vec(), 512)))
}

/// Opens a disk as the commands do for one that a person names.
fn search(device: Arc<dyn BlockDevice>) -> Disk {
    Disk::search(device, Search::Thorough).unwrap()
}

/// Repairs the table on these bytes.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let device = Arc::new(MemDevice::from_bytes(bytes.to_vec(), 512));
    let disk = search(Arc::clone(&device) as Arc<dyn BlockDevice>);
    TableRepair::plan(&disk).write(device.as_ref()).unwrap();
    device.bytes()
}

/// What sgdisk says about a disk with these bytes.
fn sgdisk(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sgdisk").arg("-v").arg(file.path()).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

/// The partitions but for the end of `data`, which a repair may move.
fn without_data(disk: &Disk) -> Partitions {
    Partitions {
        data: None,
        ..*disk.partitions()
    }
}

#[test]
fn a_correct_table_has_no_fault() {
    let bytes = fixture::image();
    assert_eq!(TableRepair::plan(&open(&bytes)), TableRepair::default());
    assert_eq!(repaired(&bytes), bytes);
}

#[test]
fn on_a_larger_disk_the_second_table_moves_to_the_end_and_data_grows() {
    let bytes = larger();
    let plan = TableRepair::plan(&open(&bytes));
    assert_eq!(
        plan.faults,
        [
            "second partition table: in sector 32767, expected in 40959: the disk is larger than its table"
        ]
    );
    assert_eq!(
        plan.changes,
        [
            "write the second partition table to the end of the disk",
            "write the first partition table",
            "let partition data end in sector 38911",
        ]
    );
    let after = repaired(&bytes);
    let said = sgdisk(&after);
    assert!(said.contains("No problems found"), "{said}");
    let (before, disk) = (open(&bytes), open(&after));
    assert_eq!(without_data(&disk), without_data(&before));
    assert_eq!(disk.partitions().data.unwrap().last_lba, 38_911);
    assert_eq!(TableRepair::plan(&disk), TableRepair::default());
    let old = &after[32_767 * 512..32_768 * 512];
    assert!(old.iter().all(|byte| *byte == 0), "the old header is gone");
}

#[test]
fn a_lost_first_table_is_restored_from_the_second_wherever_it_is() {
    for (bytes, repaired_size) in [(fixture::image(), 16 * MIB), (larger(), LARGE)] {
        for lost in [0..1024, 512..1024, 512..34 * 512] {
            let mut damaged = bytes.clone();
            damaged[lost].fill(0);
            let disk = open(&damaged);
            assert!(disk.primary_error().is_some());
            let after = repaired(&damaged);
            assert_eq!(after.len(), repaired_size);
            let said = sgdisk(&after);
            assert!(said.contains("No problems found"), "{said}");
            assert_eq!(without_data(&open(&after)), without_data(&open(&bytes)));
        }
    }
}

#[test]
fn a_damaged_second_table_is_written_again() {
    let bytes = fixture::image();
    for byte in [32_767 * 512 + 60, 32_740 * 512] {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1;
        let plan = TableRepair::plan(&open(&damaged));
        assert!(plan.faults[0].starts_with("second partition table: "));
        assert_eq!(repaired(&damaged), bytes);
    }
}

#[test]
fn data_that_is_not_the_last_partition_does_not_grow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    std::fs::write(&path, fixture::image()).unwrap();
    let status = Command::new("sgdisk")
        .args(["-n", "0:0:0", "-t", "0:8300"])
        .arg(&path)
        .status();
    assert!(status.unwrap().success());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.resize(LARGE, 0);
    let after = repaired(&bytes);
    assert_eq!(open(&after).partitions(), open(&bytes).partitions());
    // One sector more is enough to move the second table, and none less.
    bytes.truncate(16 * MIB + 512);
    let plan = TableRepair::plan(&open(&bytes));
    assert_eq!((plan.faults.len(), plan.changes.len()), (1, 2));
}

/// A disk that loses power after some writes, the last of which may be torn.
struct Cut {
    device: MemDevice,
    left: AtomicUsize,
    torn: usize,
}

impl BlockDevice for Cut {
    fn sector_size(&self) -> u32 {
        512
    }
    fn len(&self) -> u64 {
        self.device.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, into)
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let torn = self.torn.min(data.len() / 512) * 512;
            self.device.write_at(offset, &data[..torn])?;
            return Err(io::Error::other("no power"));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        self.device.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_power_cut_at_any_write_leaves_a_table_and_the_next_repair_completes_it() {
    let mut lost = larger();
    lost[512..1024].fill(0);
    for bytes in [larger(), lost] {
        let complete = repaired(&bytes);
        let before = without_data(&open(&bytes));
        for (writes, torn) in (0..7).flat_map(|writes| [(writes, 0), (writes, 5)]) {
            let device = Arc::new(Cut {
                device: MemDevice::from_bytes(bytes.clone(), 512),
                left: AtomicUsize::new(writes),
                torn,
            });
            let disk = Disk::open(Arc::clone(&device) as Arc<dyn BlockDevice>).unwrap();
            TableRepair::plan(&disk).write(device.as_ref()).ok();
            let cut = device.device.bytes();
            assert_eq!(without_data(&open(&cut)), before, "{writes} {torn}");
            let again = repaired(&cut);
            assert_eq!(TableRepair::plan(&open(&again)), TableRepair::default());
            assert_eq!(without_data(&open(&again)), before);
            let data = |bytes: &[u8]| open(bytes).partitions().data;
            assert_eq!(data(&again), data(&complete), "{writes} {torn}");
        }
    }
}
