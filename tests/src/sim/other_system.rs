//! Another operating system on the same disk, which our programs must not change: an EFI system
//! partition and a root partition at the end of the disk, the first entries of the partition table,
//! and a boot entry. Our partitions have the same offsets as on a disk of their own.

use crate::sim::hardware::image::Image;
use crate::sim::hardware::layout::{DISK_LEN, OTHER_ESP, OTHER_ROOT, Region};
use crate::sim::hardware::state::{MachineState, Variables};
use crate::sim::oracle::DiskReader;
use bootctl::device::MemDevice;
use bootctl::efivars::{VarName, Variable};
use installer::esp::{self, EspFile};
use record::ESP_TYPE;
use std::ops::Range;
use std::sync::Arc;

/// Its boot loader.
pub const LOADER: &[u8] = b"MZ the loader of another system";
/// Paths of the loader: of its boot entry, and the removable path.
const PATHS: [&str; 2] = ["EFI/OTHER/LOADER.EFI", "EFI/BOOT/BOOTX64.EFI"];
/// PARTUUID of its EFI system partition.
const ESP_UUID: [u8; 16] = [0x11; 16];
/// GUID of the disk.
const DISK: [u8; 16] = [0x33; 16];
/// `NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS`.
const ATTRIBUTES: u32 = 7;

/// The parts of another system that must not change.
pub struct OtherSystem {
    sector: u64,
    /// Hash of the partitions.
    content: u64,
    /// Its entries, the first two of the partition table.
    entries: Vec<u8>,
    mbr: Vec<u8>,
    option: Variable,
}

impl OtherSystem {
    /// Installs the system on a blank disk with sectors of this size, and fills the free space with
    /// old data.
    ///
    /// # Errors
    /// When its file system cannot be made.
    pub fn install(state: &mut MachineState, sector_size: u32) -> anyhow::Result<Self> {
        let sector = u64::from(sector_size);
        let esp = MemDevice::new((OTHER_ESP.end - OTHER_ESP.start) as usize, sector_size);
        let mut files: Vec<EspFile<'_>> = PATHS
            .iter()
            .map(|path| EspFile::new(path, LOADER))
            .collect();
        esp::create(&esp, 0, OTHER_ESP.end - OTHER_ESP.start, 5, &mut files)?;
        state.image.write(OTHER_ESP.start, &esp.bytes());
        for at in OTHER_ROOT.step_by(4096) {
            state.image.write(at, &(!at).to_le_bytes().repeat(512));
        }
        old_bytes(state);
        let mut mbr = vec![0; sector_size as usize];
        mbr[..9].copy_from_slice(b"boot code");
        mbr[446..462].copy_from_slice(&[
            0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 1, 0,
        ]);
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        state.image.write(0, &mbr);
        let entries = [
            entry(ESP_TYPE.0, ESP_UUID, &OTHER_ESP, sector, 1),
            entry([0xaf; 16], [0x17; 16], &OTHER_ROOT, sector, 1 << 60),
        ]
        .concat();
        write_table(state, sector, DISK, &entries);
        let option = Variable {
            attributes: ATTRIBUTES,
            data: load_option(sector),
        };
        let order = Variable {
            attributes: ATTRIBUTES,
            data: vec![0, 0],
        };
        let vars = Arc::make_mut(&mut state.vars);
        vars.insert(VarName::global("Boot0000"), option.clone());
        vars.insert(VarName::global("BootOrder"), order);
        state.history.other = true;
        let content = state.image.hash_of(OTHER_ESP.start..OTHER_ROOT.end);
        Ok(Self {
            sector,
            content,
            entries,
            mbr,
            option,
        })
    }

    /// Checks that its partitions are unchanged. *Pure.*
    ///
    /// # Errors
    /// The violation.
    pub fn check_content(&self, image: &Image) -> Result<(), String> {
        if image.hash_of(OTHER_ESP.start..OTHER_ROOT.end) != self.content {
            return Err("the partitions of the other system have changed".to_owned());
        }
        Ok(())
    }

    /// Checks that all of it on the disk is unchanged. *Pure.*
    ///
    /// # Errors
    /// The violation.
    pub fn check_disk(&self, reader: &DiskReader<'_>) -> Result<(), String> {
        self.check_content(reader.image)?;
        if !reader.image.equals(0, &self.mbr) {
            return Err("the MBR has changed".to_owned());
        }
        let Some((disk, entries)) = reader.entries() else {
            return Err("the other system is not in the partition table".to_owned());
        };
        if disk != DISK || !entries.starts_with(&self.entries) {
            return Err("the entries of the other system have changed".to_owned());
        }
        if reader.esp().is_some_and(|esp| esp.uuid == ESP_UUID) == reader.state().is_some() {
            return Err("the wrong EFI system partition is taken for ours".to_owned());
        }
        Ok(())
    }

    /// Checks that its boot entry is unchanged and in the boot order. *Pure.*
    ///
    /// # Errors
    /// The violation.
    pub fn check_vars(&self, vars: &Variables) -> Result<(), String> {
        let data = |name: &str| {
            vars.get(&VarName::global(name))
                .map(|it| it.data.as_slice())
        };
        let order = data("BootOrder").unwrap_or_default();
        if data("Boot0000") != Some(&self.option.data)
            || !order.as_chunks::<2>().0.contains(&[0, 0])
        {
            return Err("the boot entry of the other system is lost".to_owned());
        }
        Ok(())
    }

    /// Bytes in a sector of its disk.
    #[must_use]
    pub const fn sector(&self) -> u64 {
        self.sector
    }
}

/// Fills the space of our partitions with old data.
pub(super) fn old_bytes(state: &mut MachineState) {
    for at in (Region::Esp.start()..Region::Data.start() + (1 << 20)).step_by(4096) {
        state.image.write(at, &at.to_le_bytes().repeat(512));
    }
}

/// An entry of the partition table (UEFI 2.10, 5.3.3).
fn entry(
    kind: [u8; 16],
    uuid: [u8; 16],
    place: &Range<u64>,
    sector: u64,
    attributes: u64,
) -> Vec<u8> {
    let numbers = [place.start / sector, place.end / sector - 1, attributes];
    let name: Vec<u8> = "other".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut entry = [
        &kind[..],
        &uuid,
        &numbers.map(u64::to_le_bytes).concat(),
        &name,
    ]
    .concat();
    entry.resize(128, 0);
    entry
}

/// Writes both copies of a partition table of 128 entries that begins with these.
pub(super) fn write_table(state: &mut MachineState, sector: u64, disk: [u8; 16], first: &[u8]) {
    let last = DISK_LEN / sector - 1;
    let mut entries = first.to_vec();
    entries.resize(128 * 128, 0);
    let array = entries.len() as u64 / sector;
    for (lba, other, entries_at) in [(1, last, 2), (last, 1, last - array)] {
        let mut header = vec![0; sector as usize];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [
            (24, lba),
            (32, other),
            (40, 2 + array),
            (48, last - array - 1),
            (72, entries_at),
        ] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].copy_from_slice(&disk);
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        state.image.write(lba * sector, &header);
        state.image.write(entries_at * sector, &entries);
    }
}

/// Its boot entry (UEFI 2.10, 3.1.3, 10.3.5.1, 10.3.5.4).
fn load_option(sector: u64) -> Vec<u8> {
    let utf16 = |text: &str| {
        text.encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let numbers = [
        OTHER_ESP.start / sector,
        (OTHER_ESP.end - OTHER_ESP.start) / sector,
    ];
    let file = utf16(&format!("\\{}", PATHS[0].replace('/', "\\")));
    let len = (file.len() as u16 + 4).to_le_bytes();
    let path = [
        &[4, 1, 42, 0, 1, 0, 0, 0][..],
        &numbers.map(u64::to_le_bytes).concat(),
        &ESP_UUID,
        &[2, 2, 4, 4],
        &len,
        &file,
        &[0x7f, 0xff, 4, 0],
    ]
    .concat();
    [
        &[1, 0, 0, 0][..],
        &(path.len() as u16).to_le_bytes(),
        &utf16("Other"),
        &path,
    ]
    .concat()
}
