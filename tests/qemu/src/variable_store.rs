//! The variable store of OVMF, read and written while the machine is off (EDK2,
//! MdeModulePkg/Include/Guid/VariableFormat.h).

use crate::{Failure, Firmware};
use std::path::PathBuf;

/// Offset of the first variable: after the headers of the firmware volume and of the store.
const FIRST: usize = 0x48 + 28;
/// Offset of the store's length. The store begins after the header of the volume.
const STORE_LEN_AT: usize = 0x48 + 16;
/// Length of a variable's header.
const HEADER: usize = 60;
/// `EFI_GLOBAL_VARIABLE` (UEFI 2.10, 3.3).
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// Vendor of `db` (UEFI 2.10, 32.3).
const IMAGE_SECURITY: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];
/// Type of a list of X.509 certificates (UEFI 2.10, 32.4.1).
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
/// Attributes of a boot option: non-volatile, accessible at boot and run time.
const BOOT_OPTION: u32 = 7;
/// Same, and written only by a signer: `TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
const AUTHENTICATED: u32 = 0x27;
/// States of a valid variable: added, or being replaced by one that is not complete.
const ADDED: u8 = 0x3f;
const IN_TRANSITION: u8 = 0x3e;
/// Bit that is cleared in the state of a deleted variable.
const DELETED: u8 = 0x02;

/// A UEFI variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its vendor GUID, as stored.
    pub vendor: [u8; 16],
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: u32,
    /// Its data.
    pub data: Vec<u8>,
}

/// The file of a machine's UEFI variables.
#[derive(Clone, Debug)]
pub struct VariableStore {
    path: PathBuf,
}

/// A variable in the store, with its header's offset and its state.
struct Entry {
    at: usize,
    state: u8,
    variable: Variable,
}

impl VariableStore {
    /// Creates the file `path` as the firmware is delivered. *Writes.*
    ///
    /// # Errors
    /// When the firmware is not installed, or the file cannot be written.
    pub fn create(path: impl Into<PathBuf>, firmware: Firmware) -> Result<Self, Failure> {
        let store = Self { path: path.into() };
        let template = firmware.variables();
        std::fs::copy(template, &store.path)
            .map_err(|error| store.failure(format!("{template}: {error}")))?;
        Ok(store)
    }

    /// Returns the store in the file `path`, which exists. *Pure.*
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the valid variables. *Reads.*
    ///
    /// # Errors
    /// When the file cannot be read or is cut off.
    pub fn read(&self) -> Result<Vec<Variable>, Failure> {
        let (entries, _) = self.scan(&self.bytes()?)?;
        let mut variables: Vec<Variable> = Vec::new();
        for state in [IN_TRANSITION, ADDED] {
            for entry in entries.iter().filter(|entry| entry.state == state) {
                let new = &entry.variable;
                variables.retain(|old| (old.vendor, &old.name) != (new.vendor, &new.name));
                variables.push(new.clone());
            }
        }
        Ok(variables)
    }

    /// Sets variables of the UEFI specification, or deletes them (`None`). *Writes.*
    ///
    /// # Errors
    /// When the file cannot be read or written, is cut off, or is full.
    pub fn change(&self, changes: &[(&str, Option<Vec<u8>>)]) -> Result<(), Failure> {
        let mut bytes = self.bytes()?;
        for (name, data) in changes {
            let (entries, at) = self.scan(&bytes)?;
            for old in entries
                .iter()
                .filter(|old| old.variable.vendor == GLOBAL && old.variable.name == *name)
            {
                bytes[old.at + 2] &= !DELETED;
            }
            if let Some(data) = data {
                self.append(&mut bytes, at, &encode(GLOBAL, name, BOOT_OPTION, data))?;
            }
        }
        self.write(&bytes)
    }

    /// Adds a non-volatile variable of any vendor with boot-service and run-time access, as another
    /// system can leave one behind. *Writes.*
    ///
    /// # Errors
    /// As [`VariableStore::change`].
    pub fn insert(&self, vendor: [u8; 16], name: &str, data: &[u8]) -> Result<(), Failure> {
        let mut bytes = self.bytes()?;
        let (_, at) = self.scan(&bytes)?;
        self.append(&mut bytes, at, &encode(vendor, name, BOOT_OPTION, data))?;
        self.write(&bytes)
    }

    /// Enrols `certificate` (DER) as platform key, key exchange key and the only signer of
    /// programs: Secure Boot is on from the next start. An operator does that in the firmware's
    /// menu. *Writes.*
    ///
    /// # Errors
    /// As [`VariableStore::change`].
    pub fn enrol(&self, certificate: &[u8]) -> Result<(), Failure> {
        // EFI_SIGNATURE_LIST (UEFI 2.10, 32.4.1): type, lengths of list, header and signature,
        // owner, certificate.
        let signature_len = 16 + certificate.len() as u32;
        let mut list = X509.to_vec();
        for len in [28 + signature_len, 0, signature_len] {
            list.extend(len.to_le_bytes());
        }
        list.extend([7; 16]);
        list.extend(certificate);
        let mut bytes = self.bytes()?;
        for (vendor, name) in [(GLOBAL, "PK"), (GLOBAL, "KEK"), (IMAGE_SECURITY, "db")] {
            let (_, at) = self.scan(&bytes)?;
            self.append(&mut bytes, at, &encode(vendor, name, AUTHENTICATED, &list))?;
        }
        self.write(&bytes)
    }

    /// All variables, including the deleted ones, and the offset of the next one. *Pure.*
    fn scan(&self, bytes: &[u8]) -> Result<(Vec<Entry>, usize), Failure> {
        let mut entries = Vec::new();
        let mut at = FIRST;
        while bytes.get(at..at + 2) == Some(&[0xaa, 0x55]) {
            let entry = parse(bytes, at);
            let (entry, len) =
                entry.ok_or_else(|| self.failure("it ends within a variable".to_owned()))?;
            entries.push(entry);
            at += len;
        }
        Ok((entries, at))
    }

    fn append(&self, bytes: &mut [u8], at: usize, variable: &[u8]) -> Result<(), Failure> {
        let len = le32(bytes, STORE_LEN_AT).unwrap_or(0) as usize;
        let end = at + variable.len();
        match bytes.get_mut(at..end) {
            Some(free) if end <= 0x48 + len => free.copy_from_slice(variable),
            _ => return Err(self.failure("it is full".to_owned())),
        }
        Ok(())
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        std::fs::read(&self.path).map_err(|error| self.failure(error.to_string()))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        std::fs::write(&self.path, bytes).map_err(|error| self.failure(error.to_string()))
    }

    fn failure(&self, what: String) -> Failure {
        Failure::new(format!("variable store {}", self.path.display()), what)
    }
}

/// The variable at `at`, and its length with padding. *Pure.*
fn parse(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let name_len = le32(bytes, at + 36)? as usize;
    let data_len = le32(bytes, at + 40)? as usize;
    let name_at = at + HEADER;
    let data_at = name_at + name_len;
    let units: Vec<u16> = bytes
        .get(name_at..data_at)?
        .as_chunks::<2>()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .collect();
    let variable = Variable {
        vendor: bytes.get(at + 44..at + 60)?.try_into().ok()?,
        name: String::from_utf16_lossy(&units)
            .trim_end_matches('\0')
            .to_owned(),
        attributes: le32(bytes, at + 4)?,
        data: bytes.get(data_at..data_at + data_len)?.to_vec(),
    };
    let state = *bytes.get(at + 2)?;
    let end = (data_at + data_len).next_multiple_of(4);
    Some((
        Entry {
            at,
            state,
            variable,
        },
        end - at,
    ))
}

/// A variable in the store's format, without padding. *Pure.*
fn encode(vendor: [u8; 16], name: &str, attributes: u32, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut variable = vec![0xaa, 0x55, ADDED, 0];
    variable.extend(attributes.to_le_bytes());
    variable.resize(36, 0);
    variable.extend((name.len() as u32).to_le_bytes());
    variable.extend((data.len() as u32).to_le_bytes());
    variable.extend(vendor);
    variable.extend(name);
    variable.extend(data);
    variable
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{GLOBAL, VariableStore};
    use crate::Failure;

    /// A store of 4 KiB without variables.
    fn empty() -> Result<(tempfile::TempDir, VariableStore), Failure> {
        let folder = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        let path = folder.path().join("vars.fd");
        let mut bytes = vec![0xff; 4096];
        bytes[super::STORE_LEN_AT..][..4].copy_from_slice(&(4096_u32 - 0x48).to_le_bytes());
        std::fs::write(&path, bytes).map_err(Failure::of("write"))?;
        Ok((folder, VariableStore { path }))
    }

    #[test]
    fn the_last_value_of_a_variable_counts() -> Result<(), Failure> {
        let (_folder, store) = empty()?;
        store.change(&[("BootNext", Some(vec![1, 0])), ("BootOrder", Some(vec![2]))])?;
        store.change(&[("BootNext", Some(vec![3, 0])), ("BootOrder", None)])?;
        let found = store.read()?;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].vendor, found[0].name.as_str()),
            (GLOBAL, "BootNext")
        );
        assert_eq!((found[0].attributes, &found[0].data), (7, &vec![3, 0]));
        Ok(())
    }

    #[test]
    fn a_full_store_is_an_error() -> Result<(), Failure> {
        let (_folder, store) = empty()?;
        let full = store.change(&[("Boot0001", Some(vec![0; 4096]))]);
        assert!(full.is_err_and(|error| error.what == "it is full"));
        assert_eq!(store.read()?, []);
        Ok(())
    }
}
