//! Finding a section of an EFI program, so that the guard can be given its trusted keys after it was built.
//!
//! Source: Microsoft, "PE Format": the DOS header's `e_lfanew` at 0x3c, the COFF header after the signature, then section headers of 40 bytes.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use seal::field::get;
use seal::{TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust};
use std::ops::Range;

/// Name of the guard's section that holds its trusted keys.
pub const TRUST_SECTION: &str = ".trust";

/// Why a program cannot be given trusted keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum PeError {
    #[error("not an EFI program: {0} not found")]
    NotPe(&'static str),
    #[error("no section {TRUST_SECTION}: not a boot guard")]
    NoSection,
    #[error("section {TRUST_SECTION} of {found} bytes, expected at least {TRUST_BLOCK_LEN}")]
    TooShort { found: u64 },
    #[error("section {TRUST_SECTION} does not begin with a trust block")]
    NotATrustBlock,
    #[error("signed for Secure Boot already: keys come first, that signature last")]
    Signed,
}

/// The guard's program with `trust` built in. *Pure.*
///
/// # Errors
/// [`PeError`]; a program that carries a Secure Boot signature is refused, since the change would break it.
pub fn embed_trust(program: &[u8], trust: &Trust) -> Result<Vec<u8>, PeError> {
    let section = trust_section(program)?;
    let (start, end) = (section.start, section.start.saturating_add(TRUST_BLOCK_LEN));
    let mut out = program.to_vec();
    let place = out.get_mut(start..end).filter(|_| end <= section.end);
    let place = place.ok_or(PeError::TooShort { found: section.len() as u64 })?;
    if !place.starts_with(&TRUST_BLOCK_MAGIC) {
        return Err(PeError::NotATrustBlock);
    }
    place.copy_from_slice(&trust.to_block());
    Ok(out)
}

/// The trust that is built into a guard's program. *Pure.*
///
/// # Errors
/// [`PeError`].
pub fn trust_block(program: &[u8]) -> Result<&[u8], PeError> {
    let section = trust_section(program)?;
    let found = section.len() as u64;
    program.get(section).and_then(|bytes| bytes.get(..TRUST_BLOCK_LEN)).ok_or(PeError::TooShort { found })
}

fn trust_section(program: &[u8]) -> Result<Range<usize>, PeError> {
    if get::<2>(program, 0) != *b"MZ" {
        return Err(PeError::NotPe("MZ header"));
    }
    let coff = u32::from_le_bytes(get(program, 0x3c)) as usize;
    if program.len() <= coff || get::<4>(program, coff) != *b"PE\0\0" {
        return Err(PeError::NotPe("PE header"));
    }
    let count = u16::from_le_bytes(get(program, coff.saturating_add(6)));
    let optional = coff.saturating_add(24);
    let optional_len = usize::from(u16::from_le_bytes(get(program, coff.saturating_add(20))));
    // Data directory 4, the certificate table: at 144 of the optional header of PE32+ (magic 0x20b).
    if u16::from_le_bytes(get(program, optional)) != 0x20b {
        return Err(PeError::NotPe("PE32+ header"));
    }
    if get::<8>(program, optional.saturating_add(144)) != [0; 8] {
        return Err(PeError::Signed);
    }
    let mut header = optional.saturating_add(optional_len);
    for _ in 0..count {
        if get::<8>(program, header) == *b".trust\0\0" {
            let len = u32::from_le_bytes(get(program, header.saturating_add(16))) as usize;
            let start = u32::from_le_bytes(get(program, header.saturating_add(20))) as usize;
            let end = start.saturating_add(len);
            return if end <= program.len() { Ok(start..end) } else { Err(PeError::NotPe("end of .trust")) };
        }
        header = header.saturating_add(40);
    }
    Err(PeError::NoSection)
}
