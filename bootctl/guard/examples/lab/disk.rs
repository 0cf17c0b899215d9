//! A disk as the installer lays it out, in memory, and the release on it.

use anyhow::{Context as _, Result};
use ed25519_dalek::{Signer as _, SigningKey};
use record::{
    BOOT_A_TYPE, BOOT_B_TYPE, COPY_OFFSETS, ESP_TYPE, Guid, RECOVERY_TYPE, ROOT_A_TYPE,
    ROOT_B_TYPE, Reason, Record, Release, STATE_TYPE, Slot, SlotState, Status, Text64,
};
use seal::{ImageDigest, KeyId, Role, Seal, Statement, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Write as _};

const MIB: usize = 1024 * 1024;
/// Type GUID and length in MiB of each partition, in their order on the disk. The ESP may be
/// larger.
const PARTS: [(Guid, usize); 7] = [
    (ESP_TYPE, 1),
    (STATE_TYPE, 1),
    (BOOT_A_TYPE, 1),
    (BOOT_B_TYPE, 1),
    (ROOT_A_TYPE, 1),
    (ROOT_B_TYPE, 1),
    (RECOVERY_TYPE, 1),
];

/// Indexes into [`PARTS`].
pub(crate) const ESP: usize = 0;
pub(crate) const STATE: usize = 1;
pub(crate) const BOOT: [usize; 2] = [2, 3];
pub(crate) const RECOVERY: usize = 6;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn trust() -> Result<Trust> {
    let roles = [Role::Release];
    let key = TrustedKey::new(key().verifying_key().as_bytes(), &roles)?;
    Ok(Trust::new(1, [1, 0, 0], &[key])?)
}

/// Returns a release with `image` as both boot and recovery image.
pub(crate) fn release(
    version: &str,
    rollback_index: u64,
    image: &[u8],
    key: &SigningKey,
) -> Result<(Seal, Release)> {
    let version = Text64::new(version).context("version")?;
    let digest = ImageDigest {
        len: image.len() as u64,
        sha256: Sha256::digest(image).into(),
    };
    let manifest_sha256 = Sha256::digest(version.as_str()).into();
    let mut seal = Seal::new(&Statement {
        version,
        rollback_index,
        key_epoch: 1,
        revoke: false,
        watchdog: true,
        manifest: ImageDigest {
            len: 1,
            sha256: manifest_sha256,
        },
        boot: digest,
        recovery: digest,
        root: None,
        links: ImageDigest::NONE,
        bundle_len: 0,
    });
    let signature = key.sign(&seal.to_be_signed()).to_bytes();
    seal.add_signature(KeyId::of(key.verifying_key().as_bytes()), &signature)?;
    Ok((
        seal,
        Release {
            version,
            rollback_index,
            manifest_sha256,
        },
    ))
}

pub(crate) fn sealed(seal: &Seal, image: &[u8]) -> Vec<u8> {
    [seal.as_bytes(), image].concat()
}

/// Returns a FAT file system with these files.
pub(crate) fn fat(len: usize, sector: u16, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let options = fatfs::FormatVolumeOptions::new().bytes_per_sector(sector);
    fatfs::format_volume(Cursor::new(&mut bytes), options)?;
    {
        let fs = fatfs::FileSystem::new(Cursor::new(&mut bytes), fatfs::FsOptions::new())?;
        let root = fs.root_dir();
        for (path, data) in files {
            let (folder, _) = path.rsplit_once('/').context("folder")?;
            let mut made = String::new();
            for part in folder.split('/') {
                made = if made.is_empty() {
                    part.to_owned()
                } else {
                    format!("{made}/{part}")
                };
                root.create_dir(&made)?;
            }
            root.create_file(path)?.write_all(data)?;
        }
    }
    Ok(bytes)
}

/// A disk.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) sector: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) guid: Guid,
    esp_mib: usize,
}

impl Disk {
    pub(crate) fn uuid(&self, part: usize) -> Guid {
        let mut bytes = self.guid.0;
        bytes[15] = part as u8 + 1;
        Guid(bytes)
    }

    pub(crate) fn at(&self, part: usize) -> usize {
        MIB + (0..part).map(|part| self.len(part)).sum::<usize>()
    }

    pub(crate) fn len(&self, part: usize) -> usize {
        if part == ESP {
            self.esp_mib * MIB
        } else {
            PARTS[part].1 * MIB
        }
    }

    /// Returns an empty disk with a partition table, whose GUIDs depend on `seed`.
    pub(crate) fn new(sector: usize, seed: u8, esp_mib: usize) -> Self {
        let len = (PARTS.iter().map(|(_, mib)| mib).sum::<usize>() + esp_mib + 1) * MIB;
        let mut disk = Self {
            sector,
            bytes: vec![0; len],
            esp_mib,
            guid: Guid([seed, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0]),
        };
        let mut array = vec![0; 128 * 128];
        for (part, (entry, (kind, _))) in array.chunks_mut(128).zip(PARTS).enumerate() {
            entry[..16].copy_from_slice(&kind.0);
            entry[16..32].copy_from_slice(&disk.uuid(part).0);
            let (first, last) = (
                disk.at(part) / sector,
                (disk.at(part) + disk.len(part)) / sector - 1,
            );
            entry[32..40].copy_from_slice(&(first as u64).to_le_bytes());
            entry[40..48].copy_from_slice(&(last as u64).to_le_bytes());
        }
        let last = (len / sector - 1) as u64;
        let array_sectors = (array.len() / sector) as u64;
        disk.protective_mbr(last);
        for (lba, other, array_lba) in [(1, last, 2), (last, 1, last - array_sectors)] {
            let mut header = [0; 92];
            header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
            let usable = (2 + array_sectors, last - array_sectors - 1);
            for (at, value) in [
                (24, lba),
                (32, other),
                (40, usable.0),
                (48, usable.1),
                (72, array_lba),
            ] {
                header[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            }
            header[56..72].copy_from_slice(&disk.guid.0);
            for (at, value) in [(80, 128), (84, 128), (88, crc32fast::hash(&array))] {
                header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
            let crc = crc32fast::hash(&header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            let at = lba as usize * sector;
            disk.bytes[at..at + 92].copy_from_slice(&header);
            let at = array_lba as usize * sector;
            disk.bytes[at..at + array.len()].copy_from_slice(&array);
        }
        disk
    }

    fn protective_mbr(&mut self, last: u64) {
        self.bytes[446..462]
            .copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
        self.bytes[458..462].copy_from_slice(&(last as u32).to_le_bytes());
        self.bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    }

    pub(crate) fn write(&mut self, part: usize, offset: usize, data: &[u8]) {
        let at = self.at(part) + offset;
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    pub(crate) fn read(&self, part: usize, offset: usize, len: usize) -> &[u8] {
        let at = self.at(part) + offset;
        &self.bytes[at..at + len]
    }

    /// Returns the `HD()` node of a partition's device path (UEFI 2.10, 10.3.5.1).
    pub(crate) fn hd(&self, part: usize) -> Vec<u8> {
        let mut node = vec![4, 1, 42, 0];
        node.extend((part as u32 + 1).to_le_bytes());
        node.extend(((self.at(part) / self.sector) as u64).to_le_bytes());
        node.extend(((self.len(part) / self.sector) as u64).to_le_bytes());
        node.extend(self.uuid(part).0);
        node.extend([2, 2]);
        node
    }

    pub(crate) fn slot(&self, slot: Slot, status: Status, release: Release) -> SlotState {
        let place = usize::from(slot == Slot::B);
        SlotState {
            status,
            reason: Reason::None,
            tries_granted: 3,
            revoke: false,
            release,
            trust_epoch: 0,
            boot_uuid: self.uuid(BOOT[place]),
            root_uuid: self.uuid(4 + place),
        }
    }

    pub(crate) fn record(
        &self,
        default: Slot,
        a: (Status, Release),
        b: (Status, Release),
    ) -> Record {
        Record {
            seq: 1,
            disk_guid: self.guid,
            install_id: Guid([9; 16]),
            default,
            one_shot: None,
            floor: 1,
            trust_floor: 0,
            recovery_epoch: 0,
            recovery_uuid: self.uuid(RECOVERY),
            compatible: Text64::EMPTY,
            slots: [self.slot(Slot::A, a.0, a.1), self.slot(Slot::B, b.0, b.1)],
        }
    }

    /// Writes `record` to both copies.
    pub(crate) fn put_record(&mut self, record: &Record) {
        for (copy, offset) in (0..).zip(COPY_OFFSETS) {
            self.write(STATE, offset as usize, &record.encode(copy));
        }
    }
}

/// Returns the `EFI_LOAD_OPTION` (UEFI 2.10, 3.1.3) of a file on the partition with this `HD()`
/// node.
pub(crate) fn load_option(label: &str, hd: &[u8], file: &str, data: &[u8]) -> Vec<u8> {
    let file = utf16(file);
    let node = [&[4, 4][..], &(file.len() as u16 + 4).to_le_bytes(), &file].concat();
    let path = [hd, &node, &[0x7f, 0xff, 4, 0]].concat();
    [
        &1_u32.to_le_bytes()[..],
        &(path.len() as u16).to_le_bytes(),
        &utf16(label),
        &path,
        data,
    ]
    .concat()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}
