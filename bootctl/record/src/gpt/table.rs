//! Reading a table from a disk: the only code that follows the positions in a header.

use super::backup::{self, Search};
use super::found::Found;
use super::header::{GptError, Header};
use crate::read_at::ReadAt;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Largest sector that is accepted, in bytes. Bounds the memory for a header.
const SECTOR_MAX: u32 = 4096;

/// One copy of a table: a header and the entries that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCopy {
    /// Sector of the header.
    pub lba: u64,
    /// The fields of the header.
    pub header: Header,
    /// The whole sector of the header.
    pub sector: Vec<u8>,
    /// The entries, [`Header::array_len`] bytes.
    pub array: Vec<u8>,
}

/// Why one copy of a table cannot be used. `E` is the error of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError<E> {
    /// The disk gave an error: the copy may be there, and may be whole.
    Io(E),
    /// What was read is not a usable copy.
    Gpt(GptError),
}

impl<E: fmt::Display> fmt::Display for CopyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "partition table cannot be read: {error}"),
            Self::Gpt(error) => error.fmt(f),
        }
    }
}
impl<E: fmt::Debug + fmt::Display> core::error::Error for CopyError<E> {}

impl<E> From<GptError> for CopyError<E> {
    fn from(error: GptError) -> Self {
        Self::Gpt(error)
    }
}

impl TableCopy {
    /// Reads the copy whose header is in sector `lba` of `disk`, which has sectors of
    /// `sector_size` bytes. *Reads* whole sectors, at most 4 KiB and then 128 KiB.
    ///
    /// # Errors
    /// [`CopyError::Io`] if the disk fails. [`CopyError::Gpt`] if the header or the checksum of the
    /// entries is wrong, if a position is outside the disk, or if the sector size is not a power
    /// of two from 512 to 4096.
    pub fn read<D: ReadAt + ?Sized>(
        disk: &D,
        sector_size: u32,
        lba: u64,
    ) -> Result<Self, CopyError<D::Error>> {
        if !(512..=SECTOR_MAX).contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(GptError::Field("sector size").into());
        }
        let size = u64::from(sector_size);
        let sectors = disk.size().checked_div(size).unwrap_or(0);
        if lba == 0 || lba >= sectors {
            return Err(GptError::NotAHeader.into());
        }
        let mut sector = vec![0; sector_size as usize];
        disk.read_at(lba.saturating_mul(size), &mut sector)
            .map_err(CopyError::Io)?;
        let header = Header::parse(&sector, lba, sectors)?;
        let count = (header.array_len as u64).div_ceil(size);
        let end = header.array_lba.checked_add(count);
        if end.is_none_or(|end| end > sectors) {
            return Err(GptError::Field("position of the entries").into());
        }
        let mut array = vec![0; header.array_len.next_multiple_of(sector_size as usize)];
        disk.read_at(header.array_lba.saturating_mul(size), &mut array)
            .map_err(CopyError::Io)?;
        array.truncate(header.array_len);
        if crc32fast::hash(&array) != header.array_crc {
            return Err(GptError::Damaged.into());
        }
        Ok(Self {
            lba,
            header,
            sector,
            array,
        })
    }

    /// Returns our partitions in this copy. *Pure.*
    ///
    /// # Errors
    /// As [`Found::find`].
    pub fn found(&self) -> Result<Found, GptError> {
        Found::pick(&self.header, &self.array)
    }
}

/// The table of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<E> {
    /// Our partitions.
    pub found: Found,
    /// The copy that was used.
    pub copy: TableCopy,
    /// Why the backup copy was used instead of the primary; `None` if the primary was used.
    pub primary_error: Option<CopyError<E>>,
}

/// Why a disk has no usable table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTable<E> {
    /// Why not the primary copy.
    pub primary: CopyError<E>,
    /// Why not the backup copy.
    pub backup: CopyError<E>,
}

impl<E: fmt::Display> fmt::Display for NoTable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primary, backup } = self;
        write!(f, "primary: {primary}; backup: {backup}")
    }
}
impl<E: fmt::Debug + fmt::Display> core::error::Error for NoTable<E> {}

/// Reads the table of `disk`: the primary copy, or the backup copy if the primary cannot be read or
/// is not valid. *Reads*, at most in 67 places.
///
/// # Errors
/// [`NoTable`], with the reason for the primary, and for the backup in the last sector.
pub fn read<D: ReadAt + ?Sized>(
    disk: &D,
    sector_size: u32,
) -> Result<Table<D::Error>, NoTable<D::Error>> {
    search(disk, sector_size, Search::Quick)
}

/// As [`read`], with this search for the backup. *Reads.*
///
/// # Errors
/// As [`read`].
pub fn search<D: ReadAt + ?Sized>(
    disk: &D,
    sector_size: u32,
    search: Search,
) -> Result<Table<D::Error>, NoTable<D::Error>> {
    let copy = |lba| {
        let copy = TableCopy::read(disk, sector_size, lba)?;
        // What a later installation left behind elsewhere names another primary.
        if lba != 1 && copy.header.other_lba != 1 {
            return Err(GptError::Field("position of the other header").into());
        }
        Ok((copy.found()?, copy))
    };
    let table = |(found, copy), primary_error| Table {
        found,
        copy,
        primary_error,
    };
    let primary = match copy(1) {
        Ok(copy) => return Ok(table(copy, None)),
        Err(CopyError::Gpt(error @ GptError::Field("sector size"))) => {
            let [primary, backup] = [CopyError::Gpt(error), CopyError::Gpt(error)];
            return Err(NoTable { primary, backup });
        }
        Err(error) => error,
    };
    let mut reason = None;
    for lba in backup::places(disk, sector_size, search) {
        match copy(lba) {
            Ok(copy) => return Ok(table(copy, Some(primary))),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    let backup = reason.unwrap_or(CopyError::Gpt(GptError::NotAHeader));
    Err(NoTable { primary, backup })
}
