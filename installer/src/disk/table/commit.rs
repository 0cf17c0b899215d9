//! Writing the partition table, in the one order that leaves a readable table at every cut: the
//! entries of one copy, flush, its header, flush, the entries of the other copy, flush, its header,
//! flush. What is written first is never the only copy that is whole.

use bootctl::device::BlockDevice;
use std::io;
use std::ops::Range;

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The table could not be built.
    #[error("partition table: {0}")]
    Build(String),
    /// The disk gave an error.
    #[error("partition table: {0}")]
    Io(#[from] io::Error),
    /// What was read back is not what was written.
    #[error("partition table: read back other bytes than were written at sector {0}")]
    ReadBack(u64),
}

/// A table as bytes, ready to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) sector_size: u64,
    /// Extents in the order of the commit, each with the sector that it begins at. A flush follows
    /// each step.
    pub(super) steps: Vec<Vec<(u64, Vec<u8>)>>,
}

impl Table {
    /// The ranges of bytes that [`Table::commit`] writes.
    pub fn extents(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.steps.iter().flatten().map(|(lba, bytes)| {
            let start = lba * self.sector_size;
            start..start + bytes.len() as u64
        })
    }

    /// Writes the table, and reads back each part of it before the next is begun: a disk that puts
    /// a write elsewhere, or nowhere, does not get at the other copy. *Writes*, durable on return.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// # Power loss
    /// Either the old table or the new one is readable, by its primary or its backup copy, at every
    /// cut.
    pub fn commit(&self, device: &dyn BlockDevice) -> Result<(), TableError> {
        for step in &self.steps {
            for (lba, bytes) in step {
                device.write_at(lba * self.sector_size, bytes)?;
            }
            device.flush()?;
            for (lba, bytes) in step {
                let mut found = vec![0; bytes.len()];
                device.read_medium_at(lba * self.sector_size, &mut found)?;
                if found != *bytes {
                    return Err(TableError::ReadBack(*lba));
                }
            }
        }
        Ok(())
    }
}
