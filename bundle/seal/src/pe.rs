//! Headers of an EFI program: the one reader of PE/COFF files.
//!
//! Source: Microsoft, "PE Format". The DOS header holds at 0x3c the offset of the PE signature. The
//! COFF header follows (20 bytes), then the optional header with the data directories, then section
//! headers of 40 bytes. Every offset is checked against the bytes that are there.

use core::fmt;
use core::ops::Range;

const COFF_LEN: usize = 20;
const SECTION_LEN: usize = 40;
/// The certificate table. Unlike the other directories it holds an offset in the file.
const CERTIFICATE_DIRECTORY: u32 = 4;
const DIRECTORY_LEN: usize = 8;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA` (UEFI 2.10, 32.2.4): an Authenticode signature.
const PKCS_SIGNED_DATA: u16 = 2;

/// Bytes are not an EFI program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeError {
    /// They do not begin with `MZ`.
    Mz,
    /// There is no PE signature where the DOS header says.
    Pe,
    /// The optional header is neither PE32 nor PE32+.
    OptionalHeader,
    /// A header or a section ends after the last byte.
    Truncated,
}

impl fmt::Display for PeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mz => "not an EFI program: MZ header not found",
            Self::Pe => "not an EFI program: PE header not found",
            Self::OptionalHeader => "not an EFI program: neither PE32 nor PE32+",
            Self::Truncated => "not an EFI program: truncated",
        })
    }
}
impl core::error::Error for PeError {}

/// Headers of an EFI program.
#[derive(Clone, Copy, Debug)]
pub struct PeHeaders<'a> {
    bytes: &'a [u8],
    /// Offset of the first data directory.
    directories: usize,
    /// Offset of the first section header.
    sections: usize,
    section_count: u16,
}

/// A table of certificates as the headers announce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateTable {
    /// Offset in the file, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl<'a> PeHeaders<'a> {
    /// Finds the headers of the program that `bytes` begin with. *Pure.* `bytes` may end after the
    /// headers.
    ///
    /// # Errors
    /// [`PeError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        if !bytes.starts_with(b"MZ") {
            return Err(PeError::Mz);
        }
        let reader = Self {
            bytes,
            directories: 0,
            sections: 0,
            section_count: 0,
        };
        let signature = reader.u32(0x3c)? as usize;
        if reader.field(signature).map_err(|_| PeError::Pe)? != *b"PE\0\0" {
            return Err(PeError::Pe);
        }
        let coff = signature.saturating_add(4);
        let optional = coff.saturating_add(COFF_LEN);
        let optional_len = reader.u16(coff.saturating_add(16))?;
        let directories = match reader.u16(optional)? {
            0x10b => optional.saturating_add(96),
            0x20b => optional.saturating_add(112),
            _ => return Err(PeError::OptionalHeader),
        };
        Ok(Self {
            directories,
            sections: optional.saturating_add(usize::from(optional_len)),
            section_count: reader.u16(coff.saturating_add(2))?,
            ..reader
        })
    }

    /// Returns the table of certificates that the headers announce; `None` if there is none.
    /// *Pure.* Its content is not read.
    ///
    /// # Errors
    /// [`PeError::Truncated`].
    pub fn certificate_table(&self) -> Result<Option<CertificateTable>, PeError> {
        // NumberOfRvaAndSizes is directly before the directories.
        if self.u32(self.directories.saturating_sub(4))? <= CERTIFICATE_DIRECTORY {
            return Ok(None);
        }
        let at = self
            .directories
            .saturating_add(DIRECTORY_LEN.saturating_mul(CERTIFICATE_DIRECTORY as usize));
        let table = CertificateTable {
            offset: self.u32(at)?,
            len: self.u32(at.saturating_add(4))?,
        };
        Ok((table.offset != 0 && table.len != 0).then_some(table))
    }

    /// Returns the range of the section `name` (padded with zeroes) in the file; `None` if
    /// there is no such section. *Pure.*
    ///
    /// # Errors
    /// [`PeError::Truncated`] if a section header or the section itself ends after the last byte.
    pub fn section(&self, name: &[u8; 8]) -> Result<Option<Range<usize>>, PeError> {
        match self.section_in_file(name)? {
            Some(range) if range.end > self.bytes.len() => Err(PeError::Truncated),
            range => Ok(range),
        }
    }

    /// As [`PeHeaders::section`], if only the headers are at hand: the section may end after the
    /// last byte. *Pure.*
    ///
    /// # Errors
    /// [`PeError::Truncated`] if a section header ends after the last byte.
    pub fn section_in_file(&self, name: &[u8; 8]) -> Result<Option<Range<usize>>, PeError> {
        let mut header = self.sections;
        for _ in 0..self.section_count {
            if self.field::<8>(header)? == *name {
                let len = self.u32(header.saturating_add(16))? as usize;
                let start = self.u32(header.saturating_add(20))? as usize;
                let end = start.checked_add(len).ok_or(PeError::Truncated)?;
                return Ok(Some(start..end));
            }
            header = header.saturating_add(SECTION_LEN);
        }
        Ok(None)
    }

    fn field<const N: usize>(&self, at: usize) -> Result<[u8; N], PeError> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or(PeError::Truncated)
    }

    fn u16(&self, at: usize) -> Result<u16, PeError> {
        self.field(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, PeError> {
        self.field(at).map(u32::from_le_bytes)
    }
}

impl CertificateTable {
    /// Returns true if a table that begins with the bytes `head` holds an Authenticode signature.
    /// *Pure.* Looks at length and type of the first entry only.
    #[must_use]
    pub fn is_authenticode(self, head: [u8; 8]) -> bool {
        let [a, b, c, d, .., low, high] = head;
        let entry = u32::from_le_bytes([a, b, c, d]);
        entry > 8 && entry <= self.len && u16::from_le_bytes([low, high]) == PKCS_SIGNED_DATA
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const COFF: usize = 0x84;
    const OPTIONAL: usize = COFF + COFF_LEN;
    const DATA: usize = 0x300;

    /// A program with the section `.data`, and with directories at this distance in the optional
    /// header.
    fn program(magic: u16, directories: usize) -> Vec<u8> {
        let mut bytes = vec![0; DATA + 16];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(COFF + 2, &2_u16.to_le_bytes());
        put(COFF + 16, &240_u16.to_le_bytes());
        put(OPTIONAL, &magic.to_le_bytes());
        put(OPTIONAL + directories - 4, &16_u32.to_le_bytes());
        put(OPTIONAL + directories + 32, &0x310_u32.to_le_bytes());
        put(OPTIONAL + directories + 36, &8_u32.to_le_bytes());
        put(OPTIONAL + 240, b".text\0\0\0");
        put(OPTIONAL + 280, b".data\0\0\0");
        put(OPTIONAL + 280 + 16, &16_u32.to_le_bytes());
        put(OPTIONAL + 280 + 20, &(DATA as u32).to_le_bytes());
        bytes
    }

    #[test]
    fn both_sizes_of_the_optional_header_are_read() {
        for (magic, directories) in [(0x10b, 96), (0x20b, 112)] {
            let bytes = program(magic, directories);
            let headers = PeHeaders::parse(&bytes).unwrap();
            let table = CertificateTable {
                offset: 0x310,
                len: 8,
            };
            assert_eq!(headers.certificate_table(), Ok(Some(table)));
            assert_eq!(headers.section(b".data\0\0\0"), Ok(Some(DATA..DATA + 16)));
            assert_eq!(headers.section(b".none\0\0\0"), Ok(None));
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_never_another_answer() {
        let bytes = program(0x20b, 112);
        for len in 0..bytes.len() {
            let section =
                PeHeaders::parse(&bytes[..len]).and_then(|headers| headers.section(b".data\0\0\0"));
            assert!(section.is_err(), "{len} bytes: {section:?}");
        }
        let unknown = PeHeaders::parse(&program(0x107, 112)).map(drop);
        assert_eq!(unknown, Err(PeError::OptionalHeader));
    }

    #[test]
    fn a_directory_beyond_their_number_is_not_one() {
        let mut bytes = program(0x20b, 112);
        bytes[OPTIONAL + 108] = 4;
        let headers = PeHeaders::parse(&bytes).unwrap();
        assert_eq!(headers.certificate_table(), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            at in 0_usize..DATA,
            with in proptest::collection::vec(proptest::num::u8::ANY, 1..9),
        ) {
            let mut bytes = program(0x20b, 112);
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
            if let Ok(headers) = PeHeaders::parse(&bytes) {
                if let Ok(Some(table)) = headers.certificate_table() {
                    proptest::prop_assert!(table.offset > 0 && table.len > 0);
                }
                if let Ok(Some(section)) = headers.section(b".data\0\0\0") {
                    proptest::prop_assert!(section.end <= bytes.len());
                }
            }
        }
    }
}
