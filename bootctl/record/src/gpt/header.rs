//! The header of a GPT (UEFI 2.10, 5.3.2).

use crate::guid::Guid;
use seal::field::get;

/// Maximum length of the array of entries: 1024 entries of 128 bytes. Stops a hostile header from
/// requesting more memory.
pub const MAX_ARRAY_LEN: usize = 128 * 1024;
const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Bytes of an entry.
pub const ENTRY_LEN: u32 = 128;

/// The fields of a header that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// First sector of the array of entries.
    pub array_lba: u64,
    /// Length of the array of entries in bytes, at most [`MAX_ARRAY_LEN`].
    pub array_len: usize,
    /// CRC-32 of the array of entries.
    pub array_crc: u32,
    /// Sector of the other header.
    pub other_lba: u64,
    /// First and last sector for partitions.
    pub usable: (u64, u64),
}

/// Why a header or its array of entries cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// The sector does not begin with `EFI PART`.
    NotAHeader,
    /// A CRC does not match.
    Damaged,
    /// A field has a value that is not accepted.
    Field(&'static str),
}

impl core::fmt::Display for GptError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAHeader => f.write_str("no partition table"),
            Self::Damaged => f.write_str("partition table is damaged"),
            Self::Field(name) => write!(f, "partition table has an unusable {name}"),
        }
    }
}
impl core::error::Error for GptError {}

impl Header {
    /// Parses a header from sector `lba` of a disk with `sectors` sectors. *Pure.*
    ///
    /// # Errors
    /// [`GptError`].
    pub fn parse(sector: &[u8], lba: u64, sectors: u64) -> Result<Self, GptError> {
        if get::<8>(sector, 0) != SIGNATURE {
            return Err(GptError::NotAHeader);
        }
        let u32_at = |at| u32::from_le_bytes(get(sector, at));
        let u64_at = |at| u64::from_le_bytes(get(sector, at));
        let len = u32_at(12) as usize;
        if !(92..=512).contains(&len) || len > sector.len() {
            return Err(GptError::Field("header size"));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(sector.get(..16).unwrap_or_default());
        crc.update(&[0; 4]);
        crc.update(sector.get(20..len).unwrap_or_default());
        if crc.finalize() != u32_at(16) {
            return Err(GptError::Damaged);
        }
        if u64_at(24) != lba {
            return Err(GptError::Field("own position"));
        }
        if u32_at(84) != ENTRY_LEN {
            return Err(GptError::Field("entry size"));
        }
        let array_len = (u32_at(80) as usize).saturating_mul(ENTRY_LEN as usize);
        if array_len == 0 || array_len > MAX_ARRAY_LEN {
            return Err(GptError::Field("number of entries"));
        }
        let (array_lba, other_lba) = (u64_at(72), u64_at(32));
        if array_lba < 2 || array_lba >= sectors {
            return Err(GptError::Field("position of the entries"));
        }
        let usable = (u64_at(40), u64_at(48));
        if usable.0 > usable.1 || usable.1 >= sectors {
            return Err(GptError::Field("usable range"));
        }
        Ok(Self {
            disk_guid: Guid(get(sector, 56)),
            array_lba,
            array_len,
            array_crc: u32_at(88),
            other_lba,
            usable,
        })
    }
}
