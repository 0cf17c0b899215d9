//! The choice of a disk, and what is left on it.

use crate::computer::{Computer, DISK_LEN};
use bootctl::device::{Access, FileDevice, SectorSize};
use fixtures::partition_table::{Partition, table};
use installer::install::unattended::UnattendedError;

const PRECIOUS: &[u8] = b"precious data";

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_two_disks_share_is_no_consent() {
    for id in ["S1", "00000000"] {
        let computer = Computer::new();
        for disk in ["nvme0n1", "nvme0n2"] {
            computer.disk(disk, id);
            computer.write(disk, 5120, PRECIOUS);
        }
        let before = ["nvme0n1", "nvme0n2"].map(|disk| computer.bytes(disk));
        let error = computer
            .install(&format!("erase = \"{id}\""))
            .await
            .expect_err("not confirmed");
        assert!(error.to_string().contains("names more than one disk"));
        assert!(["nvme0n1", "nvme0n2"].map(|disk| computer.bytes(disk)) == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_path_of_an_nvme_disk_is_not_a_second_disk() {
    let computer = Computer::new();
    computer.disk("nvme0n1", "S1");
    computer.disk("nvme0c0n1", "S1");
    computer.show("nvme0c0n1", "hidden", "1");
    computer.write("nvme0n1", 5120, PRECIOUS);
    computer
        .install("target = { disk = \"S1\" }\nerase = \"S1\"")
        .await
        .expect("one disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_serial_number_of_a_sata_disk_is_an_id() {
    let computer = Computer::new();
    computer.disk("sda", "");
    computer.show("sda", "device/wwid", "naa.5002538e40a1b2c3");
    computer.put(
        "sys/block/sda/device/vpd_pg80",
        b"\0\x80\0\x14SERIAL-OF-SATA      ",
    );
    computer.write("sda", 0, PRECIOUS);
    computer
        .install("target = { disk = \"SERIAL-OF-SATA\" }\nerase = \"SERIAL-OF-SATA\"")
        .await
        .expect("named");
}

#[test]
fn a_mounted_btrfs_root_keeps_its_disk_busy() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    for (attribute, text) in [("partition", "2"), ("size", "40000"), ("dev", "8:2")] {
        computer.show("sda", &format!("sda2/{attribute}"), text);
    }
    let mount = b"30 1 0:28 /root / rw,relatime shared:1 - btrfs /dev/sda2 rw,subvol=/root\n";
    computer.put("proc/self/mountinfo", mount);
    let problems = &computer.assess("erase = \"S1\"")[0].problems;
    assert_eq!(problems, &["sda2 is mounted on /"]);
}

#[test]
fn a_path_of_a_multipath_disk_is_refused_by_its_name() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    computer.show("sda", "holders/dm-0/x", "");
    computer.put("sys/block/dm-0/dm/uuid", b"mpath-3600a0b80000f\n");
    computer.put("sys/block/dm-0/dm/name", b"mpatha\n");
    let candidates = computer.assess("erase = \"S1\"");
    assert_eq!(
        candidates[0].problems,
        ["sda is in use by dm-0 (multipath mpatha)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_added_to_a_gpt_that_another_table_replaced() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    for (offset, bytes) in table(DISK_LEN, 512, [2; 16], &[]) {
        computer.write("sda", offset, &bytes);
    }
    // An MBR with one partition of Linux, and no entry that protects the GPT.
    let mut entry = [0; 16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    entry[12..].copy_from_slice(&2048_u32.to_le_bytes());
    computer.write("sda", 446, &entry);
    computer.write("sda", 510, &[0x55, 0xaa]);
    let before = computer.bytes("sda");
    let answers = "beside = true\ntarget = { disk = \"S1\" }";
    let error = computer.install(answers).await.expect_err("not protected");
    let words = "its MBR has partitions and does not protect its GPT";
    assert!(error.to_string().contains(words), "{error}");
    assert!(computer.bytes("sda") == before);
    // A protective entry beside it makes a hybrid MBR.
    entry[4] = 0xee;
    computer.write("sda", 462, &entry);
    computer.install(answers).await.expect("protected");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signature_of_an_old_array_or_pool_is_left() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    let zfs = 0xba_b10c_u64.to_le_bytes();
    // MD 0.90 near the end; ZFS labels, 256 KiB each, two at each end; ext2 at each MiB.
    let end = DISK_LEN / 65536 * 65536;
    computer.write("sda", end - 65536, &md);
    for label in [0, 1, 2, 3] {
        let start = [0, 262_144, end - 524_288, end - 262_144][label];
        for uberblock in 0..4 {
            computer.write("sda", start + 131_072 + uberblock * 1024, &zfs);
        }
    }
    for mib in 0..DISK_LEN >> 20 {
        computer.write("sda", (mib << 20) + 0x438, &[0x53, 0xef]);
    }
    computer.install("erase = \"S1\"").await.expect("installed");

    let bytes = computer.bytes("sda");
    let left = |magic: &[u8]| bytes.windows(magic.len()).any(|bytes| bytes == magic);
    assert!(!left(&md) && !left(&zfs), "an old signature is left");
    let device = FileDevice::open(&computer.device("sda"), Access::Read, SectorSize::Detect);
    let disk = bootctl::disk::Disk::open(std::sync::Arc::new(device.expect("device")));
    let disk = disk.expect("disk");
    for name in record::PartitionName::ALL {
        let start = disk.partition(name).expect("partition").start() as usize;
        let magic = &bytes[start + 0x438..start + 0x43a];
        assert_ne!(magic, [0x53, 0xef], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_installed_beside_bitlocker_without_its_recovery_key() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    let windows = Partition {
        type_guid: [0xeb; 16],
        guid: [1; 16],
        len: 1 << 20,
    };
    for (offset, bytes) in table(DISK_LEN, 512, [2; 16], &[windows]) {
        computer.write("sda", offset, &bytes);
    }
    computer.write("sda", 1 << 20, b"\xeb\x58\x90-FVE-FS-");
    let before = computer.bytes("sda");
    let answers = "beside = true\ntarget = { disk = \"S1\" }";
    let error = computer.install(answers).await.expect_err("not confirmed");
    assert!(error.to_string().contains("BitLocker"), "{error}");
    assert!(computer.bytes("sda") == before);
    let confirmed = format!("{answers}\nrecovery_key_at_hand = true");
    computer.install(&confirmed).await.expect("confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_alone_do_not_give_up_the_rollback_floor() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    let before = computer.bytes("sda");
    let error = computer
        .install("erase = \"S1\"\nforget_floor = true")
        .await
        .expect_err("no person");
    assert!(matches!(error, UnattendedError::ForgetFloor), "{error}");
    assert!(computer.bytes("sda") == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_data_on_a_disk_that_is_erased_cannot_be_read() {
    let computer = Computer::new();
    computer.disk("sda", "S1");
    for offset in [5120, DISK_LEN - (8 << 20)] {
        computer.write("sda", offset, PRECIOUS);
    }
    computer.install("erase = \"S1\"").await.expect("installed");
    let bytes = computer.bytes("sda");
    assert!(!bytes.windows(PRECIOUS.len()).any(|it| it == PRECIOUS));
}
