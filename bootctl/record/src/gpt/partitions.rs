//! Our partitions in the entry array of a GPT (UEFI 2.10, 5.3.3).

use super::header::{ENTRY_LEN, GptError};
use crate::guid::Guid;
use crate::layout::PartitionName;
use crate::slot::Slot;
use seal::field::get;

/// A partition of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// PARTUUID.
    pub uuid: Guid,
    /// Number, from 1, as in an `HD()` device path.
    pub number: u32,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, included.
    pub last_lba: u64,
}

impl Partition {
    /// Returns the number of sectors. *Pure.*
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.last_lba
            .saturating_sub(self.first_lba)
            .saturating_add(1)
    }

    pub(super) fn inside(self, (first, last): (u64, u64)) -> Result<Self, GptError> {
        let inside =
            self.first_lba <= self.last_lba && self.first_lba >= first && self.last_lba <= last;
        if inside {
            Ok(self)
        } else {
            Err(GptError::Field("partition range"))
        }
    }
}

/// Returns all entries of an array with their types, including unused ones. *Pure*; nothing is
/// checked.
pub fn entries(array: &[u8]) -> impl Iterator<Item = (Guid, Partition)> + '_ {
    array
        .chunks_exact(ENTRY_LEN as usize)
        .zip(1_u32..)
        .map(|(entry, number)| {
            let partition = Partition {
                uuid: Guid(get(entry, 16)),
                number,
                first_lba: u64::from_le_bytes(get(entry, 32)),
                last_lba: u64::from_le_bytes(get(entry, 40)),
            };
            (Guid(get(entry, 0)), partition)
        })
}

/// Our partitions in a table, by type GUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// EFI system partition.
    pub esp: Option<Partition>,
    /// Boot record and event ring.
    pub state: Option<Partition>,
    /// Boot partitions of slots A and B.
    pub boot: [Option<Partition>; 2],
    /// Root partitions of slots A and B.
    pub root: [Option<Partition>; 2],
    /// Recovery.
    pub recovery: Option<Partition>,
    /// The user's data.
    pub data: Option<Partition>,
}

impl Partitions {
    /// Returns the boot partition of `slot`. *Pure.*
    #[must_use]
    pub const fn boot(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.boot;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Returns the root partition of `slot`. *Pure.*
    #[must_use]
    pub const fn root(&self, slot: Slot) -> Option<Partition> {
        let [a, b] = self.root;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Returns the partition with this name. *Pure.*
    #[must_use]
    pub const fn get(&self, name: PartitionName) -> Option<Partition> {
        match name {
            PartitionName::Esp => self.esp,
            PartitionName::State => self.state,
            PartitionName::BootA => self.boot(Slot::A),
            PartitionName::BootB => self.boot(Slot::B),
            PartitionName::RootA => self.root(Slot::A),
            PartitionName::RootB => self.root(Slot::B),
            PartitionName::Recovery => self.recovery,
            PartitionName::Data => self.data,
        }
    }

    pub(super) fn get_mut(&mut self, name: PartitionName) -> &mut Option<Partition> {
        let [boot_a, boot_b] = &mut self.boot;
        let [root_a, root_b] = &mut self.root;
        match name {
            PartitionName::Esp => &mut self.esp,
            PartitionName::State => &mut self.state,
            PartitionName::BootA => boot_a,
            PartitionName::BootB => boot_b,
            PartitionName::RootA => root_a,
            PartitionName::RootB => root_b,
            PartitionName::Recovery => &mut self.recovery,
            PartitionName::Data => &mut self.data,
        }
    }
}
