//! A table as bytes, and the order in which they are written.
//!
//! At every power cut one copy is readable: the entries of one copy, flush, its header, flush, the
//! entries of the other copy, flush, its header, flush. The copy that is written first is never the
//! only one that is intact.

use bootctl::device::BlockDevice;
use std::io;
use std::ops::Range;

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The table could not be built.
    #[error("partition table: {0}")]
    Build(String),
    /// The disk failed.
    #[error("partition table: {0}")]
    Io(#[from] io::Error),
    /// The disk returned other bytes than were written.
    #[error("partition table: sector {0} reads back different bytes than were written")]
    ReadBack(u64),
}

/// A table as bytes, ready to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) sector_size: u64,
    /// Extents in the order of the commit, each with its first sector. A flush follows each step.
    pub(super) steps: Vec<Vec<(u64, Vec<u8>)>>,
}

impl Table {
    /// Returns the byte ranges that [`Table::commit`] writes. *Pure.*
    pub fn extents(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.steps.iter().flatten().map(|(lba, bytes)| {
            let start = lba * self.sector_size;
            start..start + bytes.len() as u64
        })
    }

    /// Writes the table, and reads back each step before the next one: a disk that misplaces or
    /// drops a write then still has the other copy. *Writes*, durable on return.
    ///
    /// # Errors
    /// [`TableError::Io`], [`TableError::ReadBack`].
    ///
    /// # Power loss
    /// Either the old table or the new one is readable, by its primary or its backup copy.
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
