//! The layout of a disk: which partitions, how large, and where they come to lie. Declared once, in TOML, for
//! installer, image builder and media.

use record::Guid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Every partition starts at a multiple of this.
pub const ALIGNMENT: u64 = 1024 * 1024;
/// Room at each end of the disk for the partition table: more than 34 sectors of 4096 bytes.
const TABLE_ROOM: u64 = ALIGNMENT;
/// Smallest data partition worth having.
const LEAST_DATA: u64 = 16 * ALIGNMENT;

/// A length in bytes, written with the units KiB, MiB, GiB and TiB (or K, M, G, T for the same).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (shift, unit) = match text.get(digits.len()..).unwrap_or_default() {
            "" | "B" => (0, "bytes"),
            "K" | "KiB" => (10, "KiB"),
            "M" | "MiB" => (20, "MiB"),
            "G" | "GiB" => (30, "GiB"),
            "T" | "TiB" => (40, "TiB"),
            unit => return Err(format!("size {text:?}: unit {unit:?}, expected K, M, G or T")),
        };
        let number: u64 =
            digits.trim_end().parse().map_err(|_| format!("size {text:?}: expected a number and a unit"))?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| format!("size {text:?}: too many {unit}"))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")]
            .into_iter()
            .find(|(shift, _)| self.0 >> shift > 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((shift, name)) => write!(f, "{}{name}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// The sizes of a layout. The data partition takes the rest of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// EFI system partition. FAT32 needs 33 MiB with sectors of 512 bytes, and 257 MiB with 4096.
    pub esp: Size,
    /// Each of the two boot partitions.
    pub boot: Size,
    /// Each of the two root partitions.
    pub root: Size,
    /// Recovery partition.
    pub recovery: Size,
}

impl Default for Layout {
    fn default() -> Self {
        Self { esp: Size(260 << 20), boot: Size(128 << 20), root: Size(2 << 30), recovery: Size(256 << 20) }
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// EFI system partition.
    Esp,
    /// Boot record and event ring.
    RayosState,
    /// Boot image of slot A.
    BootA,
    /// Boot image of slot B.
    BootB,
    /// Root file system of slot A.
    RootA,
    /// Root file system of slot B.
    RootB,
    /// Recovery.
    Recovery,
    /// The user's data.
    Data,
}

impl Purpose {
    /// The partition's label, for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::RayosState => "rayos-state",
            Self::BootA => "boot-a",
            Self::BootB => "boot-b",
            Self::RootA => "root-a",
            Self::RootB => "root-b",
            Self::Recovery => "recovery",
            Self::Data => "data",
        }
    }

    /// The partition's type.
    #[must_use]
    pub const fn type_guid(self) -> Guid {
        match self {
            Self::Esp => record::ESP_TYPE,
            Self::RayosState => record::STATE_TYPE,
            Self::BootA => record::BOOT_A_TYPE,
            Self::BootB => record::BOOT_B_TYPE,
            Self::RootA => record::ROOT_A_TYPE,
            Self::RootB => record::ROOT_B_TYPE,
            Self::Recovery => record::RECOVERY_TYPE,
            Self::Data => record::DATA_TYPE,
        }
    }
}

/// A partition as it will stand on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPartition {
    /// What it is for.
    pub purpose: Purpose,
    /// Its number, from 1.
    pub number: u32,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// PARTUUID.
    #[serde(serialize_with = "as_text")]
    pub uuid: Guid,
}

/// A whole disk as it will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedDisk {
    /// GUID of the disk.
    #[serde(serialize_with = "as_text")]
    pub disk_guid: Guid,
    /// Identity of this installation.
    #[serde(serialize_with = "as_text")]
    pub install_id: Guid,
    /// Length of the disk in bytes.
    pub size: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// The partitions, in the order of their numbers.
    pub partitions: Vec<PlannedPartition>,
}

/// Why a layout does not fit a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk is too small.
    #[error("disk has {have} bytes: the layout needs {need}")]
    TooSmall {
        /// Bytes of the disk.
        have: u64,
        /// Bytes that the layout needs.
        need: u64,
    },
    /// A size is zero or not a multiple of 1 MiB.
    #[error("layout: {partition} has {size}: expected a multiple of 1MiB, at least 1MiB")]
    Misaligned {
        /// The partition.
        partition: &'static str,
        /// Its size.
        size: Size,
    },
    /// Sectors of another size than 512 or 4096 bytes.
    #[error("disk has sectors of {0} bytes: expected 512 or 4096")]
    SectorSize(u32),
}

impl Layout {
    /// The disk as it will be. *Pure*: the same layout, disk and `install_id` give the same GUIDs.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn plan(&self, size: u64, sector_size: u32, install_id: Guid) -> Result<PlannedDisk, LayoutError> {
        if !matches!(sector_size, 512 | 4096) {
            return Err(LayoutError::SectorSize(sector_size));
        }
        let fixed = [
            (Purpose::Esp, self.esp),
            (Purpose::RayosState, Size(record::STATE_LEN)),
            (Purpose::BootA, self.boot),
            (Purpose::RootA, self.root),
            (Purpose::BootB, self.boot),
            (Purpose::RootB, self.root),
            (Purpose::Recovery, self.recovery),
        ];
        let mut partitions = Vec::new();
        let mut offset = TABLE_ROOM;
        for ((purpose, size), number) in fixed.into_iter().zip(1..) {
            if size.0 == 0 || size.0 % ALIGNMENT != 0 {
                return Err(LayoutError::Misaligned { partition: purpose.label(), size });
            }
            partitions.push(planned(purpose, number, offset, size.0, install_id));
            offset = offset.saturating_add(size.0);
        }
        let end = (size.saturating_sub(TABLE_ROOM) / ALIGNMENT) * ALIGNMENT;
        let need = offset.saturating_add(LEAST_DATA).saturating_add(TABLE_ROOM);
        if end < offset.saturating_add(LEAST_DATA) {
            return Err(LayoutError::TooSmall { have: size, need });
        }
        partitions.push(planned(Purpose::Data, 8, offset, end - offset, install_id));
        let disk_guid = derived(install_id, "disk");
        Ok(PlannedDisk { disk_guid, install_id, size, sector_size, partitions })
    }
}

impl PlannedDisk {
    /// The partition for `purpose`, which every layout has.
    #[must_use]
    pub fn partition(&self, purpose: Purpose) -> Option<&PlannedPartition> {
        self.partitions.iter().find(|partition| partition.purpose == purpose)
    }
}

fn planned(purpose: Purpose, number: u32, offset: u64, size: u64, install_id: Guid) -> PlannedPartition {
    PlannedPartition { purpose, number, offset, size, uuid: derived(install_id, purpose.label()) }
}

/// A GUID derived from the install id and a name (UUID version 5, RFC 9562), so that an installation has one
/// random number in it and tests have none.
fn derived(install_id: Guid, name: &str) -> Guid {
    let namespace = Uuid::from_bytes_le(install_id.0);
    Guid(Uuid::new_v5(&namespace, name.as_bytes()).to_bytes_le())
}

fn as_text<S: serde::Serializer>(guid: &Guid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(guid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    const ID: Guid = Guid([7; 16]);

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("0", 0), ("512B", 512), ("4K", 4096), ("260MiB", 260 << 20), ("2G", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(Size(260 << 20).to_string(), "260MiB");
        assert_eq!(Size((1 << 20) + 1).to_string(), "1048577B");
        assert_eq!("2GB".parse::<Size>(), Err("size \"2GB\": unit \"GB\", expected K, M, G or T".to_owned()));
        assert_eq!("99999999T".parse::<Size>(), Err("size \"99999999T\": too many TiB".to_owned()));
        assert!("G".parse::<Size>().is_err());
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_what_it_lacks() {
        let need = match Layout::default().plan(1 << 30, 512, ID) {
            Err(LayoutError::TooSmall { have, need }) if have == 1 << 30 => need,
            other => panic!("{other:?}"),
        };
        assert!(Layout::default().plan(need, 512, ID).is_ok());
        assert!(Layout::default().plan(need - 1, 512, ID).is_err());
    }

    #[test]
    fn the_layout_file_refuses_what_it_does_not_know() {
        assert_eq!(toml::from_str::<Layout>("root = \"1G\"").map(|layout| layout.root), Ok(Size(1 << 30)));
        assert!(toml::from_str::<Layout>("rot = \"1G\"").is_err());
        let odd = Layout { root: Size(5), ..Layout::default() };
        assert!(matches!(
            odd.plan(1 << 40, 512, ID),
            Err(LayoutError::Misaligned { partition: "root-a", .. })
        ));
    }

    proptest! {
        #[test]
        fn partitions_never_overlap_and_stay_on_the_disk(
            size in any::<u64>(), id in any::<[u8; 16]>(), big in any::<bool>(), root in 1_u64..100_000,
        ) {
            let sector_size = if big { 4096 } else { 512 };
            let layout = Layout { root: Size(root << 20), ..Layout::default() };
            let Ok(disk) = layout.plan(size, sector_size, Guid(id)) else { return Ok(()) };
            let mut free = TABLE_ROOM;
            for partition in &disk.partitions {
                prop_assert!(partition.offset >= free && partition.offset % ALIGNMENT == 0);
                free = partition.offset + partition.size;
            }
            prop_assert!(free <= size - TABLE_ROOM);
            let mut uuids: Vec<_> = disk.partitions.iter().map(|partition| partition.uuid).collect();
            uuids.sort_unstable();
            uuids.dedup();
            prop_assert!(uuids.len() == 8);
        }
    }
}
