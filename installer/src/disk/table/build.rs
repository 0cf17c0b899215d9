//! The table of a whole disk, from nothing.
//!
//! The `gpt` crate creates an empty table with its protective MBR, in memory; our partitions are
//! added to that as to the table of any other system. The crate does not write to the disk: its own
//! `write` interleaves both copies with one flush at the end, after which 4 of the 16 states that a
//! power cut can leave have no readable copy.

use super::commit::{Table, TableError};
use super::existing::ExistingTable;
use crate::disk::layout::PlannedDisk;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use record::ReadAt;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

impl Table {
    /// Builds the table of `disk`. *Pure.*
    ///
    /// # Errors
    /// [`TableError::Build`].
    pub fn build(disk: &PlannedDisk) -> Result<Self, TableError> {
        let memory = blank(disk)?;
        let empty = ExistingTable::read_from(&memory, disk.sector_size)?
            .map_err(|error| TableError::Build(error.to_string()))?;
        let mut table = empty.patched(&[], &disk.partitions);
        let mut mbr = vec![0; disk.sector_size as usize];
        memory.read_at(0, &mut mbr)?;
        // The MBR goes with the entries of the primary copy, which is written last.
        if let Some(step) = table.steps.get_mut(2) {
            step.insert(0, (0, mbr));
        }
        Ok(table)
    }
}

/// Returns a disk in memory with a protective MBR and a table without partitions: 128 entries, the
/// minimum of the specification (UEFI 2.10, 5.3.1).
fn blank(disk: &PlannedDisk) -> Result<SparseDisk, TableError> {
    let sector_size = u64::from(disk.sector_size);
    let build = |error: &dyn std::fmt::Display| TableError::Build(error.to_string());
    let lb_size = LogicalBlockSize::try_from(sector_size).map_err(|error| build(&error))?;
    let mut memory = SparseDisk {
        len: disk.size,
        at: 0,
        blocks: BTreeMap::new(),
    };
    let sectors = u32::try_from(disk.size / sector_size - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut memory)
        .map_err(|error| build(&error))?;
    let guid = Uuid::from_bytes_le(disk.disk_guid.0);
    let config = GptConfig::new().writable(true).logical_block_size(lb_size);
    let mut table = config
        .create_from_device(memory, Some(guid))
        .map_err(|error| build(&error))?;
    table
        .update_partitions(BTreeMap::new())
        .map_err(|error| build(&error))?;
    table.write().map_err(|error| build(&error))
}

/// A disk in memory. Only blocks that were written take room.
#[derive(Debug)]
struct SparseDisk {
    len: u64,
    at: u64,
    blocks: BTreeMap<u64, [u8; Self::BLOCK as usize]>,
}

impl SparseDisk {
    const BLOCK: u64 = 512;

    fn block(&self, at: u64) -> [u8; Self::BLOCK as usize] {
        self.blocks
            .get(&(at / Self::BLOCK))
            .copied()
            .unwrap_or([0; Self::BLOCK as usize])
    }

    /// Returns the offset of `at` in its block, and how many of `len` bytes are in that block.
    fn span(&self, at: u64, len: usize) -> (usize, usize) {
        let within = (at % Self::BLOCK) as usize;
        let left = self.len.saturating_sub(at).min(len as u64) as usize;
        (within, left.min(Self::BLOCK as usize - within))
    }

    /// Reads up to the end of the block at `at`.
    fn read_block(&self, at: u64, into: &mut [u8]) -> usize {
        let (within, len) = self.span(at, into.len());
        into[..len].copy_from_slice(&self.block(at)[within..within + len]);
        len
    }
}

impl ReadAt for SparseDisk {
    type Error = io::Error;

    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.read_block(offset.saturating_add(done as u64), &mut into[done..]) {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }
}

impl Read for SparseDisk {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.read_block(self.at, into);
        self.at += len as u64;
        Ok(len)
    }
}

impl Write for SparseDisk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (within, len) = self.span(self.at, data.len());
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

impl Seek for SparseDisk {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::Layout;
    use record::Guid;

    /// Writes the steps of a table to a disk in memory.
    fn committed(disk: &PlannedDisk, table: &Table) -> SparseDisk {
        let mut memory = SparseDisk {
            len: disk.size,
            at: 0,
            blocks: BTreeMap::new(),
        };
        for (lba, bytes) in table.steps.iter().flatten() {
            memory.at = lba * u64::from(disk.sector_size);
            memory.write_all(bytes).expect("write");
        }
        memory
    }

    #[test]
    fn the_gpt_crate_reads_every_partition_of_a_new_table() {
        for sector_size in [512, 4096] {
            let layout = Layout::default();
            let disk = layout
                .plan(8 << 30, sector_size, Guid([7; 16]))
                .expect("plan");
            let table = Table::build(&disk).expect("table");
            let lb_size = LogicalBlockSize::try_from(u64::from(sector_size)).expect("size");
            let config = GptConfig::new().writable(false).logical_block_size(lb_size);
            let memory = committed(&disk, &table);
            let read = config.open_from_device(memory).expect("valid");
            assert_eq!(read.guid().to_bytes_le(), disk.disk_guid.0);
            assert_eq!(read.partitions().len(), disk.partitions.len());
            for planned in &disk.partitions {
                let found = &read.partitions()[&planned.number];
                let start = found.first_lba * u64::from(sector_size);
                let len = (found.last_lba - found.first_lba + 1) * u64::from(sector_size);
                assert_eq!((start, len), (planned.offset, planned.size));
                assert_eq!(found.name, planned.purpose.as_str());
                assert_eq!(found.part_guid.to_bytes_le(), planned.uuid.0);
                let kind = found.part_type_guid.guid.to_bytes_le();
                assert_eq!(kind, planned.purpose.type_guid().0);
            }
        }
    }
}
