//! Secure Boot: its state, and whether an EFI program carries a signature.
//!
//! Only the firmware knows all of its keys, so this module does not decide whether it would accept
//! a signature. But with Secure Boot on it refuses a program without any signature, and that can be
//! reported before a restart. A program that the firmware allows by its SHA-256 alone counts as
//! unsigned here.

use crate::disk::device::BlockDevice;
use crate::firmware::efivars::{EfiVars, VarError, VarName};
use seal::SEAL_LEN;
use seal::pe::{CertificateTable, PeError, PeHeaders};
use std::io;

/// Number of bytes at the beginning of an EFI program that are read for its headers. Those of a UKI
/// end before 1 KiB.
pub const HEADER_LEN: usize = 4096;

/// State of Secure Boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureBoot {
    /// The firmware starts any program.
    Off,
    /// The firmware starts any program, and any program can enrol keys: there is no platform key.
    Setup,
    /// The firmware starts only programs that its keys have signed.
    On,
}

impl SecureBoot {
    /// Returns the state from the variables `SecureBoot` and `SetupMode` (UEFI 2.10, 3.3); `None`
    /// if the firmware does not have them, or the machine has no variables. *Reads.*
    ///
    /// # Errors
    /// [`VarError`] if a variable exists but cannot be read.
    pub fn read(vars: &dyn EfiVars) -> Result<Option<Self>, VarError> {
        let flag = |name: &str| match vars.get(&VarName::global(name)) {
            Ok(found) => Ok(found.and_then(|found| found.data.first().copied())),
            Err(VarError::Unsupported) => Ok(None),
            Err(error) => Err(error),
        };
        let setup = flag("SetupMode")? == Some(1);
        Ok(flag("SecureBoot")?.map(|value| match (value, setup) {
            (1, _) => Self::On,
            (_, true) => Self::Setup,
            (_, false) => Self::Off,
        }))
    }

    /// Returns whether Secure Boot is on. A state that cannot be read counts as off. *Reads.*
    #[must_use]
    pub fn is_on(vars: &dyn EfiVars) -> bool {
        matches!(Self::read(vars), Ok(Some(Self::On)))
    }

    /// Returns the word in JSON. *Pure.*
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Setup => "setup",
            Self::On => "on",
        }
    }
}

/// Signature of an EFI program, as its headers announce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    None,
    /// A table of certificates at this place in the file.
    Table {
        /// Byte offset.
        offset: u32,
        /// Length in bytes.
        len: u32,
    },
}

/// Returns the signature of an EFI program from its first [`HEADER_LEN`] bytes, or from all of a
/// shorter one. *Pure.* Only the headers are read (PE/COFF, Optional Header Data Directories), not
/// the table.
///
/// # Errors
/// [`PeError`].
pub fn signature(header: &[u8]) -> Result<Signature, PeError> {
    let table = PeHeaders::parse(header)?.certificate_table()?;
    Ok(
        table.map_or(Signature::None, |CertificateTable { offset, len }| {
            Signature::Table { offset, len }
        }),
    )
}

/// Returns whether the EFI program in `bytes` carries an Authenticode signature. *Pure.*
///
/// # Errors
/// [`PeError`].
pub fn is_signed(bytes: &[u8]) -> Result<bool, PeError> {
    let Signature::Table { offset, len } = signature(bytes)? else {
        return Ok(false);
    };
    let at = offset as usize;
    let whole = at
        .checked_add(len as usize)
        .is_some_and(|end| end <= bytes.len());
    let head = bytes.get(at..).and_then(<[u8]>::first_chunk);
    let table = CertificateTable { offset, len };
    Ok(whole && head.is_some_and(|head| table.is_authenticode(*head)))
}

/// Returns whether the boot image in a boot or recovery partition carries an Authenticode
/// signature; false if it is not an EFI program. *Reads* behind the seal.
///
/// # Errors
/// The error of the device.
pub fn partition_is_signed(partition: &dyn BlockDevice) -> io::Result<bool> {
    let start = SEAL_LEN as u64;
    let mut header = [0; HEADER_LEN];
    partition.read_at(start, &mut header)?;
    let Ok(Signature::Table { offset, len }) = signature(&header) else {
        return Ok(false);
    };
    let end = start
        .saturating_add(u64::from(offset))
        .saturating_add(u64::from(len));
    if end > partition.len() {
        return Ok(false);
    }
    let mut head = [0; 8];
    partition.read_at(start.saturating_add(u64::from(offset)), &mut head)?;
    Ok(CertificateTable { offset, len }.is_authenticode(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::efivars::{MemVars, Variable};

    fn vars(secure: Option<u8>, setup: Option<u8>) -> MemVars {
        let vars = MemVars::new();
        for (name, value) in [("SecureBoot", secure), ("SetupMode", setup)] {
            if let Some(value) = value {
                vars.set(
                    &VarName::global(name),
                    &Variable {
                        attributes: 6,
                        data: vec![value],
                    },
                )
                .unwrap();
            }
        }
        vars
    }

    #[test]
    fn the_state_comes_from_two_variables() {
        let read = |secure, setup| SecureBoot::read(&vars(secure, setup)).unwrap();
        assert_eq!(read(Some(1), Some(0)), Some(SecureBoot::On));
        assert_eq!(read(Some(0), Some(0)), Some(SecureBoot::Off));
        assert_eq!(read(Some(0), Some(1)), Some(SecureBoot::Setup));
        assert_eq!(read(Some(0), None), Some(SecureBoot::Off));
        assert_eq!(read(None, None), None);
        assert!(SecureBoot::is_on(&vars(Some(1), None)) && !SecureBoot::is_on(&vars(None, None)));
    }

    /// Returns minimal headers of a PE32+ program, with this table of certificates at the end.
    fn program(directories: u32, table: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        bytes[0x98 + 108..0x98 + 112].copy_from_slice(&directories.to_le_bytes());
        if let Some(table) = table {
            let place = 0x98 + 112 + 32;
            bytes[place..place + 4].copy_from_slice(&512_u32.to_le_bytes());
            bytes[place + 4..place + 8].copy_from_slice(&(table.len() as u32).to_le_bytes());
            bytes.extend_from_slice(table);
        }
        bytes
    }

    #[test]
    fn a_signature_is_a_complete_table_of_the_right_kind() {
        let right = [16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(is_signed(&program(16, Some(&right))), Ok(true));
        assert_eq!(is_signed(&program(16, None)), Ok(false));
        assert_eq!(
            is_signed(&program(4, Some(&right))),
            Ok(false),
            "no such directory"
        );
        let mut other = right;
        other[6] = 1;
        assert_eq!(
            is_signed(&program(16, Some(&other))),
            Ok(false),
            "an X.509 certificate is no signature"
        );
        let mut long = right;
        long[0] = 17;
        assert_eq!(
            is_signed(&program(16, Some(&long))),
            Ok(false),
            "longer than its table"
        );
        let whole = program(16, Some(&right));
        assert_eq!(is_signed(&whole[..whole.len() - 1]), Ok(false), "cut off");
        assert_eq!(
            is_signed(b"no program").unwrap_err().to_string(),
            "not an EFI program: MZ header not found"
        );
        for len in 2..0x120 {
            assert!(is_signed(&whole[..len]).is_err(), "{len}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), pe in 0_u32..700) {
            if bytes.len() > 0x40 {
                bytes[..2].copy_from_slice(b"MZ");
                bytes[0x3c..0x40].copy_from_slice(&pe.to_le_bytes());
            }
            if let Some(place) = bytes.get_mut(pe as usize..pe as usize + 4) {
                place.copy_from_slice(b"PE\0\0");
            }
            if let Ok(true) = is_signed(&bytes) {
                let Ok(Signature::Table { offset, len }) = signature(&bytes) else { panic!("signed without a table") };
                assert!(offset as usize + len as usize <= bytes.len());
            }
        }
    }
}
