//! Boot entries: `EFI_LOAD_OPTION` (UEFI 2.10, 3.1.3) and the device paths in it (10.3).
//!
//! ```text
//! offset  bytes  what
//!      0      4  attributes; bit 0 is ACTIVE
//!      4      2  length of the device path list
//!      6      n  description, UTF-16LE, ending in a zero
//!    6+n      m  device path list: for ours HD(esp)/File(\EFI\RAYOS\GUARDx.EFI)/End; firmware may
//!              put the path to the disk before HD()
//!  6+n+m         optional data: for ours a tag of 16 bytes, then 1 for A, 2 for B or 3 for recovery
//! ```
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use record::gpt::Partition;
use record::{Choice, ENTRY_TAG, Guid, Slot};
use seal::field::get;

/// `LOAD_OPTION_ACTIVE`: the firmware starts the entry without being asked.
pub const ACTIVE: u32 = 1;

/// `LOAD_OPTION_CATEGORY`: a value other than 0 is an application, which no plain boot starts.
const CATEGORY: u32 = 0x1f00;
const MEDIA: u8 = 4;
const HARD_DRIVE: u8 = 1;
const FILE_PATH: u8 = 4;
const HARD_DRIVE_LEN: usize = 42;
const END: [u8; 4] = [0x7f, 0xff, 4, 0];

/// Why bytes are not a load option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes end within the fixed fields or the device path.
    #[error("boot entry is cut off")]
    Short,
    /// The description has no terminating zero.
    #[error("description of the boot entry has no end")]
    Description,
}

/// A boot entry. Entries of other systems are only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOption {
    /// Attribute bits, [`ACTIVE`] among them.
    pub attributes: u32,
    /// Name in the firmware's menu; invalid UTF-16 is replaced.
    pub description: String,
    /// Device path list, undecoded.
    pub device_path: Vec<u8>,
    /// Optional data, undecoded.
    pub optional: Vec<u8>,
}

/// An `HD()` node: a partition of a GPT disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardDrive {
    /// Partition number, from 1.
    pub number: u32,
    /// First sector.
    pub first_lba: u64,
    /// Number of sectors.
    pub sectors: u64,
    /// PARTUUID.
    pub uuid: Guid,
}

/// Returns the description of our entry for `choice`, and the path of its copy of the guard.
/// *Pure.*
#[must_use]
pub const fn label_and_file(choice: Choice) -> (&'static str, &'static str) {
    match choice {
        Choice::Slot(Slot::A) => ("RayOS A", "\\EFI\\RAYOS\\GUARDA.EFI"),
        Choice::Slot(Slot::B) => ("RayOS B", "\\EFI\\RAYOS\\GUARDB.EFI"),
        Choice::Recovery => ("RayOS Recovery", "\\EFI\\RAYOS\\GUARDR.EFI"),
    }
}

impl LoadOption {
    /// Returns our entry for `choice`, on the EFI system partition `esp`. *Pure.*
    #[must_use]
    pub fn ours(choice: Choice, esp: &Partition) -> Self {
        let (description, file) = label_and_file(choice);
        let mut device_path = Vec::new();
        device_path.extend([MEDIA, HARD_DRIVE, 42, 0]);
        device_path.extend(esp.number.to_le_bytes());
        device_path.extend(esp.first_lba.to_le_bytes());
        device_path.extend(esp.sectors().to_le_bytes());
        device_path.extend(esp.uuid.0);
        // Partition format GPT, signature type GUID.
        device_path.extend([2, 2]);
        let file = utf16(file);
        let len = u16::try_from(file.len())
            .unwrap_or(u16::MAX)
            .saturating_add(4);
        device_path.extend([MEDIA, FILE_PATH]);
        device_path.extend(len.to_le_bytes());
        device_path.extend(file);
        device_path.extend(END);
        let mut optional = ENTRY_TAG.0.to_vec();
        optional.push(choice.code());
        Self {
            attributes: ACTIVE,
            description: description.to_owned(),
            device_path,
            optional,
        }
    }

    /// Returns the variable's data. *Pure.*
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let path_len = u16::try_from(self.device_path.len()).unwrap_or(u16::MAX);
        let mut bytes = self.attributes.to_le_bytes().to_vec();
        bytes.extend(path_len.to_le_bytes());
        bytes.extend(utf16(&self.description));
        bytes.extend(&self.device_path);
        bytes.extend(&self.optional);
        bytes
    }

    /// Parses a variable's data. *Pure.*
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let (fixed, rest) = bytes.split_at_checked(6).ok_or(EntryError::Short)?;
        let path_len = usize::from(u16::from_le_bytes(get(fixed, 4)));
        let units = || {
            rest.chunks_exact(2)
                .map(|unit| u16::from_le_bytes(get(unit, 0)))
        };
        let chars = units()
            .position(|unit| unit == 0)
            .ok_or(EntryError::Description)?;
        let description: Vec<u16> = units().take(chars).collect();
        let after = rest
            .get(chars.saturating_add(1).saturating_mul(2)..)
            .ok_or(EntryError::Short)?;
        let (device_path, optional) = after.split_at_checked(path_len).ok_or(EntryError::Short)?;
        Ok(Self {
            attributes: u32::from_le_bytes(get(fixed, 0)),
            description: String::from_utf16_lossy(&description),
            device_path: device_path.to_vec(),
            optional: optional.to_vec(),
        })
    }

    /// Returns the first `HD()` node of a GPT disk in the first device path. *Pure.*
    #[must_use]
    pub fn hard_drive(&self) -> Option<HardDrive> {
        let node = Nodes(&self.device_path).find(|node| node.kind == (MEDIA, HARD_DRIVE))?;
        let whole = node.body.len().saturating_add(4) == HARD_DRIVE_LEN;
        (whole && get::<2>(node.body, 36) == [2, 2]).then(|| HardDrive {
            number: u32::from_le_bytes(get(node.body, 0)),
            first_lba: u64::from_le_bytes(get(node.body, 4)),
            sectors: u64::from_le_bytes(get(node.body, 12)),
            uuid: Guid(get(node.body, 20)),
        })
    }

    /// Returns the file path of the first device path, its nodes joined. *Pure.*
    #[must_use]
    pub fn file(&self) -> Option<String> {
        let mut path = String::new();
        for node in Nodes(&self.device_path).filter(|node| node.kind == (MEDIA, FILE_PATH)) {
            let units = node
                .body
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes(get(unit, 0)));
            let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
            path.push_str(&String::from_utf16_lossy(&units));
        }
        (!path.is_empty()).then_some(path)
    }

    /// Returns what the entry starts, if its file is one of our copies of the guard. *Pure.* The
    /// partition is not compared.
    #[must_use]
    pub fn starts(&self) -> Option<Choice> {
        let file = self.file()?;
        let all = [
            Choice::Slot(Slot::A),
            Choice::Slot(Slot::B),
            Choice::Recovery,
        ];
        // FAT ignores case, and some firmware rewrites paths in another case.
        all.into_iter()
            .find(|choice| label_and_file(*choice).1.eq_ignore_ascii_case(&file))
    }

    /// Returns whether this entry has the same effect as `wanted`. *Pure.* Firmware may change the
    /// description, the case of the path and the optional data after our tag and its byte, and it
    /// may put the path to the disk (`PciRoot(..)/Pci(..)/NVMe(..)`) before the partition.
    #[must_use]
    pub fn has_same_effect_as(&self, wanted: &Self) -> bool {
        let flags = |option: &Self| option.attributes & (ACTIVE | CATEGORY);
        let file = |option: &Self| option.file().map(|file| file.to_ascii_lowercase());
        flags(self) == flags(wanted)
            && self.hard_drive().is_some()
            && self.hard_drive() == wanted.hard_drive()
            && file(self) == file(wanted)
            && self.optional.starts_with(&wanted.optional)
    }
}

struct Node<'a> {
    kind: (u8, u8),
    body: &'a [u8],
}

/// The nodes of a device path list up to its first end node. A malformed node ends it, too.
struct Nodes<'a>(&'a [u8]);

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let header: [u8; 4] = *self.0.first_chunk()?;
        let [kind, subkind, len @ ..] = header;
        let len = usize::from(u16::from_le_bytes(len));
        let (node, rest) = self.0.split_at_checked(len)?;
        let body = node.get(4..)?;
        if header == END || kind & 0x7f == 0x7f {
            return None;
        }
        self.0 = rest;
        Some(Node {
            kind: (kind, subkind),
            body,
        })
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn esp() -> Partition {
        let uuid = Guid::parse("0fc63daf-8483-4772-8e79-3d69d8477de4").unwrap();
        Partition {
            uuid,
            number: 1,
            first_lba: 2048,
            last_lba: 133_119,
        }
    }

    /// Laid out by hand from the tables of UEFI 2.10, 3.1.3, 10.3.5.1 and 10.3.5.4.
    #[test]
    fn our_entry_has_the_bytes_of_the_specification() {
        let golden = concat!(
            "01000000",                         // ACTIVE
            "5e00",                             // device path list: 42 + 48 + 4 = 94 bytes
            "5200610079004f005300200041000000", // "RayOS A"
            "04012a00",                         // media, hard drive, 42 bytes
            "01000000",                         // partition 1
            "0008000000000000",                 // from sector 2048
            "0000020000000000",                 // 131072 sectors
            "af3dc60f838472478e793d69d8477de4", // PARTUUID
            "0202",                             // GPT, by GUID
            "04043000",                         // media, file path, 48 bytes
            "5c004500460049005c005200410059004f0053005c00",
            "47005500410052004400410",
            "02e004500460049000000",
            "7fff0400",
            "523c1c3f0e6a3b4f9d7e5a52b1c07ae1",
            "01"
        );
        let bytes = LoadOption::ours(Choice::Slot(Slot::A), &esp()).encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_written_entry_is_read_back() {
        for choice in [
            Choice::Slot(Slot::A),
            Choice::Slot(Slot::B),
            Choice::Recovery,
        ] {
            let ours = LoadOption::ours(choice, &esp());
            let read = LoadOption::parse(&ours.encode()).unwrap();
            assert_eq!(read, ours);
            assert_eq!(read.starts(), Some(choice));
            let drive = read.hard_drive().unwrap();
            assert_eq!(
                (drive.number, drive.first_lba, drive.sectors, drive.uuid),
                (1, 2048, 131_072, esp().uuid)
            );
        }
    }

    #[test]
    fn a_changed_description_has_the_same_effect_and_an_inactive_entry_has_not() {
        let ours = LoadOption::ours(Choice::Recovery, &esp());
        assert!(
            LoadOption {
                description: "UEFI OS".to_owned(),
                ..ours.clone()
            }
            .has_same_effect_as(&ours)
        );
        assert!(
            !LoadOption {
                attributes: 0,
                ..ours.clone()
            }
            .has_same_effect_as(&ours)
        );
        assert!(
            !LoadOption {
                optional: vec![],
                ..ours.clone()
            }
            .has_same_effect_as(&ours)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(option) = LoadOption::parse(&bytes) {
                prop_assert!(option.hard_drive().is_none() || option.device_path.len() >= HARD_DRIVE_LEN);
                prop_assert!(option.starts().is_none() || option.file().is_some());
            }
        }

        #[test]
        fn a_damaged_entry_is_parsed_or_refused(at in 0_usize..140, to in any::<u8>(), cut in 0_usize..140) {
            let mut bytes = LoadOption::ours(Choice::Recovery, &esp()).encode();
            if let Some(byte) = bytes.get_mut(at) { *byte = to; }
            bytes.truncate(cut);
            if let Ok(option) = LoadOption::parse(&bytes) {
                prop_assert!(option.hard_drive().is_none() || option.device_path.len() >= HARD_DRIVE_LEN);
                prop_assert!(option.starts().is_none() || option.file().is_some());
            }
        }
    }
}
