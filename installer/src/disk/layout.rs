//! The layout of a disk: its partitions, their sizes and their positions. Declared in TOML, for
//! installations, images and media alike.

pub use cli::quantity::Size;

use record::{Guid, PartitionName};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use uuid::Uuid;

/// Alignment of every partition, in bytes.
pub const ALIGNMENT: u64 = 1024 * 1024;
/// Bytes at each end of the disk for the partition table: more than 34 sectors of 4096 bytes.
const TABLE_ROOM: u64 = ALIGNMENT;
/// Minimum size of a data partition whose size is not given.
const MIN_DATA: u64 = 16 * ALIGNMENT;

/// Sizes of the partitions.
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
    /// Data partition; `None` takes the rest of the disk.
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

/// A partition to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPartition {
    /// Its purpose, which is also its label.
    #[serde(serialize_with = "as_text")]
    pub purpose: PartitionName,
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

/// A disk to create or change.
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
    /// Partitions of other systems, which stay unchanged.
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
    /// Length in bytes; 0 for a partition that ends before its start.
    pub size: u64,
    /// PARTUUID.
    #[serde(serialize_with = "as_text")]
    pub uuid: Guid,
}

/// Why a layout does not fit a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk is too small.
    #[error("disk has {have} bytes, the layout needs {need}")]
    TooSmall {
        /// Bytes of the disk.
        have: u64,
        /// Bytes that the layout needs.
        need: u64,
    },
    /// A size is zero or not a multiple of 1 MiB.
    #[error("layout: size of {partition} is {size}, expected a multiple of 1MiB")]
    Misaligned {
        /// The partition.
        partition: &'static str,
        /// Its size.
        size: Size,
    },
    /// The sectors have neither 512 nor 4096 bytes.
    #[error("disk has sectors of {0} bytes, expected 512 or 4096")]
    SectorSize(u32),
}

/// Number of partitions in every layout.
pub const PARTITIONS: usize = 8;

impl Layout {
    /// Returns the plan for a whole disk of `size` bytes. *Pure*: the same arguments give the same
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

    /// Returns the partitions, one after the other in `room`, a byte range that starts at a
    /// multiple of [`ALIGNMENT`]. *Pure.*
    ///
    /// # Errors
    /// [`LayoutError::Misaligned`]; [`LayoutError::TooSmall`] if `room` has fewer than
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
        let data = (PartitionName::Data, self.data.unwrap_or(Size(rest)));
        let mut offset = room.start;
        let place = |((purpose, size), number): ((PartitionName, Size), u32)| {
            let start = offset;
            offset += size.0;
            PlannedPartition {
                purpose,
                number,
                offset: start,
                size: size.0,
                uuid: derived(install_id, purpose.as_str()),
            }
        };
        Ok(fixed
            .into_iter()
            .chain([data])
            .zip(numbers)
            .map(place)
            .collect())
    }

    /// Returns the minimum length of all partitions together, in bytes. *Pure.*
    ///
    /// # Errors
    /// [`LayoutError::Misaligned`].
    pub fn min_len(&self) -> Result<u64, LayoutError> {
        let mut need = 0_u64;
        for (purpose, size) in self
            .fixed()
            .into_iter()
            .chain(self.data.map(|size| (PartitionName::Data, size)))
        {
            if size.0 == 0 || size.0 % ALIGNMENT != 0 {
                return Err(LayoutError::Misaligned {
                    partition: purpose.as_str(),
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

    /// Returns all partitions but the data partition.
    const fn fixed(&self) -> [(PartitionName, Size); PARTITIONS - 1] {
        [
            (PartitionName::Esp, self.esp),
            (PartitionName::State, Size(record::STATE_LEN)),
            (PartitionName::BootA, self.boot),
            (PartitionName::RootA, self.root),
            (PartitionName::BootB, self.boot),
            (PartitionName::RootB, self.root),
            (PartitionName::Recovery, self.recovery),
        ]
    }
}

/// Refuses sectors that have neither 512 nor 4096 bytes. *Pure.*
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
    /// Returns the partition for `purpose`; every layout has all of them. *Pure.*
    #[must_use]
    pub fn partition(&self, purpose: PartitionName) -> Option<&PlannedPartition> {
        self.partitions
            .iter()
            .find(|partition| partition.purpose == purpose)
    }
}

/// Returns a GUID derived from the install id and a name (UUID version 5, RFC 9562): one random
/// number identifies an installation, and tests need none. *Pure.*
fn derived(install_id: Guid, name: &str) -> Guid {
    let namespace = Uuid::from_bytes_le(install_id.0);
    Guid(Uuid::new_v5(&namespace, name.as_bytes()).to_bytes_le())
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    const ID: Guid = Guid([7; 16]);

    #[test]
    fn a_disk_that_is_too_small_is_refused_with_both_sizes() {
        let need = match Layout::default().plan(1 << 30, 512, ID) {
            Err(LayoutError::TooSmall { have, need }) if have == 1 << 30 => need,
            other => panic!("{other:?}"),
        };
        assert!(Layout::default().plan(need, 512, ID).is_ok());
        assert!(Layout::default().plan(need - 1, 512, ID).is_err());
    }

    #[test]
    fn a_layout_file_with_an_unknown_key_is_refused() {
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
    fn the_data_partition_takes_the_rest_or_its_given_size() {
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
            size in any::<u64>(),
            id in any::<[u8; 16]>(),
            big in any::<bool>(),
            root in 1_u64..100_000,
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
            let uuids = disk.partitions.iter().map(|partition| partition.uuid);
            let mut uuids: Vec<_> = uuids.collect();
            uuids.sort_unstable();
            uuids.dedup();
            prop_assert!(uuids.len() == 8);
        }
    }
}
