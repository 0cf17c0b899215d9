//! The layout of a disk: which partitions, how large, and where they come to lie. Declared once, in
//! TOML, for installer, image builder and media.

pub use cli::quantity::Size;

use record::Guid;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use uuid::Uuid;

/// Every partition starts at a multiple of this.
pub const ALIGNMENT: u64 = 1024 * 1024;
/// Room at each end of the disk for the partition table: more than 34 sectors of 4096 bytes.
const TABLE_ROOM: u64 = ALIGNMENT;
/// Smallest data partition worth having.
const MIN_DATA: u64 = 16 * ALIGNMENT;

/// The sizes of a layout.
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
    /// Data partition. Without it, all the room that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Size>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            esp: Size(260 << 20),
            boot: Size(128 << 20),
            root: Size(2 << 30),
            recovery: Size(256 << 20),
            data: None,
        }
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
    /// Partitions of other systems, which stay as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptPartition>,
}

/// A partition of another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Its label.
    pub name: String,
    /// Its type.
    #[serde(serialize_with = "as_text")]
    pub kind: Guid,
    /// First byte.
    pub offset: u64,
    /// Length in bytes; 0 for one that ends before it begins.
    pub size: u64,
    /// PARTUUID.
    #[serde(serialize_with = "as_text")]
    pub uuid: Guid,
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

/// Number of partitions of every layout.
pub const PARTITIONS: usize = 8;

impl Layout {
    /// The whole disk as it will be. *Pure*: the same layout, disk and `install_id` give the same
    /// GUIDs.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn plan(
        &self,
        size: u64,
        sector_size: u32,
        install_id: Guid,
    ) -> Result<PlannedDisk, LayoutError> {
        check_sector_size(sector_size)?;
        let need = self.min_len()?.saturating_add(2 * TABLE_ROOM);
        if size < need {
            return Err(LayoutError::TooSmall { have: size, need });
        }
        let room = TABLE_ROOM..size - TABLE_ROOM;
        let partitions = self.fill(&room, [1, 2, 3, 4, 5, 6, 7, 8], install_id)?;
        let disk_guid = derived(install_id, "disk");
        Ok(PlannedDisk {
            disk_guid,
            install_id,
            size,
            sector_size,
            partitions,
            kept: Vec::new(),
        })
    }

    /// The partitions side by side in `room`, a range of bytes that begins at a multiple of
    /// [`ALIGNMENT`]. *Pure.*
    ///
    /// # Errors
    /// [`LayoutError::Misaligned`]; [`LayoutError::TooSmall`] of a room with less than
    /// [`Layout::min_len`] bytes.
    pub fn fill(
        &self,
        room: &Range<u64>,
        numbers: [u32; PARTITIONS],
        install_id: Guid,
    ) -> Result<Vec<PlannedPartition>, LayoutError> {
        let have = (room.end / ALIGNMENT * ALIGNMENT).saturating_sub(room.start);
        let need = self.min_len()?;
        if have < need {
            return Err(LayoutError::TooSmall { have, need });
        }
        let fixed = self.fixed();
        let rest = fixed
            .iter()
            .fold(have, |rest, (_, size)| rest.saturating_sub(size.0));
        let data = (Purpose::Data, self.data.unwrap_or(Size(rest)));
        let mut offset = room.start;
        let place = |((purpose, size), number): ((Purpose, Size), u32)| {
            let start = offset;
            offset += size.0;
            PlannedPartition {
                purpose,
                number,
                offset: start,
                size: size.0,
                uuid: derived(install_id, purpose.label()),
            }
        };
        Ok(fixed
            .into_iter()
            .chain([data])
            .zip(numbers)
            .map(place)
            .collect())
    }

    /// Bytes that all partitions need at least, side by side. *Pure.*
    ///
    /// # Errors
    /// [`LayoutError::Misaligned`].
    pub fn min_len(&self) -> Result<u64, LayoutError> {
        let mut need = 0_u64;
        for (purpose, size) in self
            .fixed()
            .into_iter()
            .chain(self.data.map(|size| (Purpose::Data, size)))
        {
            if size.0 == 0 || size.0 % ALIGNMENT != 0 {
                return Err(LayoutError::Misaligned {
                    partition: purpose.label(),
                    size,
                });
            }
            need = need.saturating_add(size.0);
        }
        Ok(if self.data.is_none() {
            need.saturating_add(MIN_DATA)
        } else {
            need
        })
    }

    /// Everything but the data partition.
    const fn fixed(&self) -> [(Purpose, Size); PARTITIONS - 1] {
        [
            (Purpose::Esp, self.esp),
            (Purpose::RayosState, Size(record::STATE_LEN)),
            (Purpose::BootA, self.boot),
            (Purpose::RootA, self.root),
            (Purpose::BootB, self.boot),
            (Purpose::RootB, self.root),
            (Purpose::Recovery, self.recovery),
        ]
    }
}

/// Refuses sectors that are neither of 512 nor of 4096 bytes. *Pure.*
///
/// # Errors
/// [`LayoutError::SectorSize`].
pub(crate) const fn check_sector_size(sector_size: u32) -> Result<(), LayoutError> {
    if matches!(sector_size, 512 | 4096) {
        Ok(())
    } else {
        Err(LayoutError::SectorSize(sector_size))
    }
}

impl PlannedDisk {
    /// The partition for `purpose`, which every layout has.
    #[must_use]
    pub fn partition(&self, purpose: Purpose) -> Option<&PlannedPartition> {
        self.partitions
            .iter()
            .find(|partition| partition.purpose == purpose)
    }
}

/// A GUID derived from the install id and a name (UUID version 5, RFC 9562), so that an
/// installation has one random number in it and tests have none.
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
        assert_eq!(
            toml::from_str::<Layout>("root = \"1G\"").map(|layout| layout.root),
            Ok(Size(1 << 30))
        );
        assert!(toml::from_str::<Layout>("rot = \"1G\"").is_err());
        let odd = Layout {
            root: Size(5),
            ..Layout::default()
        };
        assert!(matches!(
            odd.plan(1 << 40, 512, ID),
            Err(LayoutError::Misaligned {
                partition: "root-a",
                ..
            })
        ));
    }

    #[test]
    fn data_take_the_rest_or_what_they_are_given() {
        let data = |layout: &Layout, size| {
            let planned = layout.plan(size, 512, ID).map(|disk| disk.partitions[7]);
            planned.map(|data| (data.offset >> 20, data.size >> 20))
        };
        let mib = |mib: u64| Size(mib << 20);
        let small = Layout {
            esp: mib(34),
            boot: mib(2),
            root: mib(8),
            recovery: mib(2),
            data: None,
        };
        assert_eq!(data(&small, 200 << 20), Ok((58, 141)));
        let given = Layout {
            data: Some(mib(5)),
            ..small
        };
        assert_eq!(
            data(&given, 200 << 20),
            Ok((58, 5)),
            "the rest of the disk kept free"
        );
        assert_eq!(data(&given, 64 << 20), Ok((58, 5)));
        let too_small = Err(LayoutError::TooSmall {
            have: (64 << 20) - 1,
            need: 64 << 20,
        });
        assert_eq!(data(&given, (64 << 20) - 1), too_small);
        let odd = Layout {
            data: Some(Size(7)),
            ..small
        };
        let misaligned = Err(LayoutError::Misaligned {
            partition: "data",
            size: Size(7),
        });
        assert_eq!(data(&odd, 200 << 20), misaligned);
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
