//! Any bytes as a disk: the table is read or refused, and each window is inside the disk.
#![allow(clippy::indexing_slicing, reason = "a check")]

use bootctl::device::{BlockDevice as _, MemDevice};
use bootctl::disk::Disk;
use std::sync::Arc;

/// The input is a byte for the sector size, then the disk.
pub(crate) fn check(data: &[u8]) {
    let Some((large, rest)) = data.split_first() else {
        return;
    };
    let size = if large & 1 == 1 { 4096 } else { 512 };
    let mut bytes = rest.to_vec();
    bytes.resize(bytes.len().next_multiple_of(size).max(40 * size), 0);
    // Valid checksums, because other inputs are refused early.
    let array = crc32fast::hash(&bytes[2 * size..2 * size + 16384]);
    let header = &mut bytes[size..size + 92];
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    header[72..92].copy_from_slice(&[
        2, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0,
    ]);
    header[24..32].copy_from_slice(&1_u64.to_le_bytes());
    header[88..].copy_from_slice(&array.to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let len = bytes.len() as u64;
    let Ok(disk) = Disk::open(Arc::new(MemDevice::from_bytes(bytes, size as u32))) else {
        return;
    };
    let parts = disk.partitions();
    for partition in [parts.esp, parts.state, parts.recovery, parts.data]
        .into_iter()
        .chain(parts.boot)
        .chain(parts.root)
    {
        if let Some(window) = partition.and_then(|partition| disk.window(partition).ok()) {
            assert!(window.start() + window.len() <= len);
        }
    }
}
