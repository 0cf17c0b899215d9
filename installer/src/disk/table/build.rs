//! The table of a whole disk, from nothing.
//!
//! The `gpt` crate builds the bytes, in memory. It is not let at the disk: its own `write`
//! interleaves both copies with one flush at the end, after which 4 of the 16 states that a power
//! cut can leave are readable by nobody.

use super::commit::{Table, TableError};
use crate::disk::layout::PlannedDisk;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};
use record::gpt::ENTRY_LEN;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

/// Number of entries in a table, the least that the specification allows (UEFI 2.10, 5.3.1).
const ENTRIES: u64 = 128;

impl Table {
    /// Builds the table of `disk`. *Pure.*
    ///
    /// # Errors
    /// [`TableError::Build`].
    pub fn build(disk: &PlannedDisk) -> Result<Self, TableError> {
        let memory = in_memory(disk)?;
        let sector_size = u64::from(disk.sector_size);
        let last = disk.size / sector_size - 1;
        let array = (ENTRIES * u64::from(ENTRY_LEN)).div_ceil(sector_size);
        let take =
            |lba: u64, sectors: u64| (lba, memory.extent(lba * sector_size, sectors * sector_size));
        Ok(Self {
            sector_size,
            steps: vec![
                vec![take(last - array, array)],
                vec![take(last, 1)],
                vec![take(0, 1), take(2, array)],
                vec![take(1, 1)],
            ],
        })
    }
}

fn in_memory(disk: &PlannedDisk) -> Result<Sparse, TableError> {
    let sector_size = u64::from(disk.sector_size);
    let build = |error: &dyn std::fmt::Display| TableError::Build(error.to_string());
    let lb_size = LogicalBlockSize::try_from(sector_size).map_err(|error| build(&error))?;
    let mut memory = Sparse {
        len: disk.size,
        at: 0,
        blocks: BTreeMap::new(),
    };
    let sectors = u32::try_from(disk.size / sector_size - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut memory)
        .map_err(|error| build(&error))?;
    let guid = Uuid::from_bytes_le(disk.disk_guid.0);
    let config = GptConfig::new()
        .writable(true)
        .logical_block_size(lb_size)
        .change_partition_count(true);
    let mut table = config
        .create_from_device(memory, Some(guid))
        .map_err(|error| build(&error))?;
    let partitions = disk.partitions.iter().map(|partition| {
        let entry = Partition {
            part_type_guid: Type {
                guid: Uuid::from_bytes_le(partition.purpose.type_guid().0),
                os: OperatingSystem::None,
            },
            part_guid: Uuid::from_bytes_le(partition.uuid.0),
            first_lba: partition.offset / sector_size,
            last_lba: (partition.offset + partition.size) / sector_size - 1,
            flags: 0,
            name: partition.purpose.label().to_owned(),
        };
        (partition.number, entry)
    });
    table
        .update_partitions(partitions.collect())
        .map_err(|error| build(&error))?;
    table.write().map_err(|error| build(&error))
}

/// A disk in memory of which only what was written takes room.
#[derive(Debug)]
struct Sparse {
    len: u64,
    at: u64,
    blocks: BTreeMap<u64, [u8; Self::BLOCK as usize]>,
}

impl Sparse {
    const BLOCK: u64 = 512;

    fn extent(&self, offset: u64, len: u64) -> Vec<u8> {
        (offset..offset + len)
            .step_by(Self::BLOCK as usize)
            .flat_map(|at| self.block(at))
            .collect()
    }

    fn block(&self, at: u64) -> [u8; Self::BLOCK as usize] {
        self.blocks
            .get(&(at / Self::BLOCK))
            .copied()
            .unwrap_or([0; Self::BLOCK as usize])
    }

    /// Offset in the block at hand, and how many of `len` bytes lie in it.
    fn span(&self, len: usize) -> (usize, usize) {
        let within = (self.at % Self::BLOCK) as usize;
        let left = self.len.saturating_sub(self.at).min(len as u64) as usize;
        (within, left.min(Self::BLOCK as usize - within))
    }
}

impl Read for Sparse {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (within, len) = self.span(into.len());
        into[..len].copy_from_slice(&self.block(self.at)[within..within + len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl Write for Sparse {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (within, len) = self.span(data.len());
        let mut block = self.block(self.at);
        block[within..within + len].copy_from_slice(&data[..len]);
        self.blocks.insert(self.at / Self::BLOCK, block);
        self.at += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
