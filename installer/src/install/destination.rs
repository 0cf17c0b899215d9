//! The disk of an installation, how it will be divided, and its new partition table.

use super::error::InstallError;
use super::request::InstallRequest;
use crate::disk::coexist::{CoexistPlan, Obstacles};
use crate::disk::layout::PlannedDisk;
use crate::disk::table::{ExistingTable, Table};
use bootctl::device::BlockDevice;
use record::PartitionName;
use record::gpt::{Partition, Partitions};
use std::sync::Arc;

/// A disk with the plan for it.
pub(super) struct Destination {
    /// The disk. If it keeps another system, it refuses writes outside of the new partitions.
    pub(super) device: Arc<dyn BlockDevice>,
    /// The partitions.
    pub(super) planned: PlannedDisk,
    /// The table that contains them.
    pub(super) table: Table,
}

impl Destination {
    /// Plans the disk of `request`. *Reads* its table if other systems are kept.
    pub(super) fn plan(request: &InstallRequest<'_>) -> Result<Self, InstallError> {
        let (len, device) = (request.device.len(), Arc::clone(&request.device));
        let (layout, install_id) = (request.layout, request.install_id);
        if !request.options.beside {
            let planned = layout.plan(len, device.sector_size(), install_id)?;
            return Ok(Self {
                device,
                table: Table::build(&planned)?,
                planned,
            });
        }
        let existing = ExistingTable::read(device.as_ref()).map_err(InstallError::Unreadable)?;
        let existing = existing.map_err(|unusable| Obstacles(vec![unusable.into()]))?;
        let plan = CoexistPlan::plan(&existing, layout, len, install_id)?;
        Ok(Self {
            device: Arc::new(plan.fence(device)),
            planned: plan.planned,
            table: plan.table,
        })
    }

    /// Returns the first byte of a partition. *Pure.*
    pub(super) fn start(&self, name: PartitionName) -> Option<u64> {
        self.planned
            .partition(name)
            .map(|partition| partition.offset)
    }

    /// Returns the partitions as they will be found once the table is written. *Pure.*
    pub(super) fn partitions(&self) -> Partitions {
        let disk = &self.planned;
        let sector = u64::from(disk.sector_size);
        let find = |name| {
            disk.partition(name).map(|partition| Partition {
                uuid: partition.uuid,
                number: partition.number,
                first_lba: partition.offset / sector,
                last_lba: (partition.offset + partition.size) / sector - 1,
            })
        };
        Partitions {
            disk_guid: disk.disk_guid,
            esp: find(PartitionName::Esp),
            state: find(PartitionName::State),
            boot: [find(PartitionName::BootA), find(PartitionName::BootB)],
            root: [find(PartitionName::RootA), find(PartitionName::RootB)],
            recovery: find(PartitionName::Recovery),
            data: find(PartitionName::Data),
        }
    }
}
