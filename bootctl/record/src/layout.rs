//! Our partitions, by name and type GUID, and the layout of the state partition.
//!
//! The partitions of slots differ by type, so that they can be found even when both copies of the
//! boot record are lost.

use crate::guid::Guid;
use crate::record::RECORD_LEN;
use crate::slot::Slot;

/// Minimum length of the state partition in bytes.
pub const STATE_LEN: u64 = 1024 * 1024;
/// Byte offsets of the two copies of the boot record in the state partition. They are far apart, so
/// that one defect of the medium does not damage both.
pub const COPY_OFFSETS: [u64; 2] = [0, STATE_LEN - RECORD_LEN as u64];
/// Byte offsets of the two copies of the trust links in the state partition.
pub const LINKS_OFFSETS: [u64; 2] = [16 * 1024, 960 * 1024];
/// Length of one copy of the trust links in bytes: the unused ones are zero.
pub const LINKS_LEN: u64 = (seal::MAX_LINKS * seal::LINK_LEN) as u64;
/// Byte offset of the event ring in the state partition.
pub const RING_OFFSET: u64 = 64 * 1024;
/// Length of the event ring in bytes.
pub const RING_LEN: u64 = 896 * 1024;

/// Type of the EFI system partition (UEFI 2.10, 5.3.3).
pub const ESP_TYPE: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Type of `rayos-state`, which holds the boot record and the event ring.
pub const STATE_TYPE: Guid = Guid::from_fields(0x6c67_6a6c, 0x78d6, 0x4e96, 0x909a_4bdd_1c9e_ad12);
/// Type of `boot-a`.
pub const BOOT_A_TYPE: Guid = Guid::from_fields(0xd35f_9ab0, 0x2806, 0x49c9, 0xb0a5_dc10_32bc_ab4e);
/// Type of `boot-b`.
pub const BOOT_B_TYPE: Guid = Guid::from_fields(0x7552_2deb, 0x9b7a, 0x4de4, 0x8872_974e_d9d6_feb5);
/// Type of `root-a`.
pub const ROOT_A_TYPE: Guid = Guid::from_fields(0x7b1d_4dea, 0x2d01, 0x4644, 0xa9dc_036d_a98a_cc9b);
/// Type of `root-b`.
pub const ROOT_B_TYPE: Guid = Guid::from_fields(0x92f1_99f9, 0xdf4b, 0x484c, 0x9f09_0418_f355_c4e9);
/// Type of `recovery`.
pub const RECOVERY_TYPE: Guid =
    Guid::from_fields(0x75ba_574c, 0x6c44, 0x4495, 0x9203_56b5_9367_3891);
/// Type of `data`.
pub const DATA_TYPE: Guid = Guid::from_fields(0x3868_540f, 0x0576, 0x487c, 0x971d_e96a_7dc7_158b);

/// A partition of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionName {
    /// The EFI system partition.
    Esp,
    /// Boot record and event ring.
    State,
    /// Seal and boot image of slot A.
    BootA,
    /// Seal and boot image of slot B.
    BootB,
    /// Root file system of slot A.
    RootA,
    /// Root file system of slot B.
    RootB,
    /// Seal and image of the recovery system.
    Recovery,
    /// The user's data.
    Data,
}

impl PartitionName {
    /// All names, in the order in which the partitions stand on a disk.
    pub const ALL: [Self; 8] = [
        Self::Esp,
        Self::State,
        Self::BootA,
        Self::BootB,
        Self::RootA,
        Self::RootB,
        Self::Recovery,
        Self::Data,
    ];

    /// Returns the boot partition of `slot`. *Pure.*
    #[must_use]
    pub const fn boot(slot: Slot) -> Self {
        match slot {
            Slot::A => Self::BootA,
            Slot::B => Self::BootB,
        }
    }

    /// Returns the root partition of `slot`. *Pure.*
    #[must_use]
    pub const fn root(slot: Slot) -> Self {
        match slot {
            Slot::A => Self::RootA,
            Slot::B => Self::RootB,
        }
    }

    /// Returns the name as it stands in a partition table and in messages. *Pure.*
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::State => "rayos-state",
            Self::BootA => "boot-a",
            Self::BootB => "boot-b",
            Self::RootA => "root-a",
            Self::RootB => "root-b",
            Self::Recovery => "recovery",
            Self::Data => "data",
        }
    }

    /// Returns the type GUID. *Pure.*
    #[must_use]
    pub const fn type_guid(self) -> Guid {
        match self {
            Self::Esp => ESP_TYPE,
            Self::State => STATE_TYPE,
            Self::BootA => BOOT_A_TYPE,
            Self::BootB => BOOT_B_TYPE,
            Self::RootA => ROOT_A_TYPE,
            Self::RootB => ROOT_B_TYPE,
            Self::Recovery => RECOVERY_TYPE,
            Self::Data => DATA_TYPE,
        }
    }

    /// Returns the partition with this type GUID. *Pure.* An EFI system partition may belong to
    /// another system.
    #[must_use]
    pub fn with_type(guid: Guid) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.type_guid() == guid)
    }

    /// Returns the slot that the partition belongs to. *Pure.*
    #[must_use]
    pub const fn slot(self) -> Option<Slot> {
        match self {
            Self::BootA | Self::RootA => Some(Slot::A),
            Self::BootB | Self::RootB => Some(Slot::B),
            Self::Esp | Self::State | Self::Recovery | Self::Data => None,
        }
    }
}

impl core::fmt::Display for PartitionName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_own_name_and_type() {
        for name in PartitionName::ALL {
            assert_eq!(PartitionName::with_type(name.type_guid()), Some(name));
            let same = PartitionName::ALL
                .into_iter()
                .filter(|other| other.as_str() == name.as_str());
            assert_eq!(same.count(), 1, "{name}");
        }
        assert_eq!(PartitionName::with_type(Guid::ZERO), None);
    }

    #[test]
    fn a_slot_has_the_partitions_that_name_it() {
        for slot in Slot::ALL {
            for name in [PartitionName::boot(slot), PartitionName::root(slot)] {
                assert_eq!(name.slot(), Some(slot));
                assert!(name.as_str().ends_with(slot.letter()), "{name}");
            }
        }
    }
}
