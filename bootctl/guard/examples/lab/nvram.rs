//! OVMF's store of variables, read and written from outside (EDK2,
//! MdeModulePkg/Include/Guid/VariableFormat.h).

use anyhow::{Context as _, Result, ensure};
use bootctl::efivars::{EfiVars as _, MemVars, VarName, Variable};
use record::Guid;
use std::path::Path;

/// Behind the header of the firmware volume and that of the store.
const FIRST: usize = 0x48 + 28;
/// Where the length of the store stands: it begins behind the volume's header.
const STORE_LEN_AT: usize = 0x48 + 16;
const HEADER: usize = 60;
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// Vendor of `db` (UEFI 2.10, 32.3).
const IMAGE_SECURITY: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];
/// A list of X.509 certificates.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
/// Persistent, seen by boot and run time, and written only by a signer:
/// `TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
const AUTHENTICATED: u32 = 0x27;
/// States of a variable that counts: added, or being replaced by one that is not there yet.
const ADDED: u8 = 0x3f;
const IN_TRANSITION: u8 = 0x3e;
/// Cleared in the state of a variable that does not count any more.
const DELETED: u8 = 0x02;

/// EFI_LOAD_OPTION (UEFI 2.10, 3.1.3) of a file on the partition with this HD() node.
pub(crate) fn load_option(label: &str, hd: &[u8], file: &str, data: &[u8]) -> Vec<u8> {
    let file = utf16(file);
    let node = [&[4, 4][..], &(file.len() as u16 + 4).to_le_bytes(), &file].concat();
    let path = [hd, &node, &[0x7f, 0xff, 4, 0]].concat();
    [
        &1_u32.to_le_bytes()[..],
        &(path.len() as u16).to_le_bytes(),
        &utf16(label),
        &path,
        data,
    ]
    .concat()
}

/// A variable in the store, and where its header is.
struct Found {
    at: usize,
    state: u8,
    attributes: u32,
    vendor: [u8; 16],
    name: Vec<u8>,
    data: Vec<u8>,
}

/// All variables, those that do not count any more among them, and where the next one goes.
fn scan(store: &[u8]) -> Result<(Vec<Found>, usize)> {
    let mut found = Vec::new();
    let mut at = FIRST;
    while store.get(at..at + 2) == Some(&[0xaa, 0x55]) {
        let word = |from: usize| -> Result<u32> {
            let bytes = store
                .get(at + from..at + from + 4)
                .context("store ends within a variable")?;
            Ok(u32::from_le_bytes(bytes.try_into()?))
        };
        let (name_len, data_len) = (word(36)? as usize, word(40)? as usize);
        let text = at + HEADER;
        let part = |from: usize, len: usize| {
            store
                .get(from..from + len)
                .context("store ends within a variable")
        };
        found.push(Found {
            at,
            state: store[at + 2],
            attributes: word(4)?,
            vendor: part(at + 44, 16)?.try_into()?,
            name: part(text, name_len)?.to_vec(),
            data: part(text + name_len, data_len)?.to_vec(),
        });
        at = (text + name_len + data_len).next_multiple_of(4);
    }
    Ok((found, at))
}

/// The variables that count.
pub(crate) fn read(store: &Path) -> Result<MemVars> {
    let (found, _) = scan(&std::fs::read(store)?)?;
    let vars = MemVars::new();
    for state in [IN_TRANSITION, ADDED] {
        for variable in found.iter().filter(|variable| variable.state == state) {
            let units: Vec<u16> = variable
                .name
                .as_chunks::<2>()
                .0
                .iter()
                .map(|unit| u16::from_le_bytes(*unit))
                .collect();
            let name = String::from_utf16_lossy(&units)
                .trim_end_matches('\0')
                .to_owned();
            let name = VarName {
                name,
                vendor: Guid(variable.vendor),
            };
            vars.set(
                &name,
                &Variable {
                    attributes: variable.attributes,
                    data: variable.data.clone(),
                },
            )?;
        }
    }
    Ok(vars)
}

/// Sets variables of the specification, or deletes them.
pub(crate) fn change(store: &Path, changes: &[(&str, Option<Vec<u8>>)]) -> Result<()> {
    let mut bytes = std::fs::read(store)?;
    let len = u32::from_le_bytes(bytes[STORE_LEN_AT..STORE_LEN_AT + 4].try_into()?) as usize;
    for (name, data) in changes {
        let name = utf16(name);
        let (found, at) = scan(&bytes)?;
        for old in found
            .iter()
            .filter(|old| old.vendor == GLOBAL && old.name == name)
        {
            bytes[old.at + 2] &= !DELETED;
        }
        let Some(data) = data else { continue };
        let variable = encode(GLOBAL, &name, 7, data);
        ensure!(at + variable.len() <= 0x48 + len, "the store is full");
        bytes[at..at + variable.len()].copy_from_slice(&variable);
    }
    std::fs::write(store, bytes)?;
    Ok(())
}

/// Enrols a certificate as platform key, key exchange key and the one signer of programs: from the
/// next start on Secure Boot is on. A person does that in the firmware's menu.
pub(crate) fn enrol(store: &Path, certificate: &[u8]) -> Result<()> {
    // EFI_SIGNATURE_LIST (UEFI 2.10, 32.4.1): type, lengths of list, header and signature, owner,
    // certificate.
    let signature_len = 16 + certificate.len() as u32;
    let mut list = X509.to_vec();
    for len in [28 + signature_len, 0, signature_len] {
        list.extend(len.to_le_bytes());
    }
    list.extend([7; 16]);
    list.extend(certificate);
    let mut bytes = std::fs::read(store)?;
    for (vendor, name) in [(GLOBAL, "PK"), (GLOBAL, "KEK"), (IMAGE_SECURITY, "db")] {
        let (_, at) = scan(&bytes)?;
        let variable = encode(vendor, &utf16(name), AUTHENTICATED, &list);
        bytes
            .get_mut(at..at + variable.len())
            .context("the store is full")?
            .copy_from_slice(&variable);
    }
    std::fs::write(store, bytes)?;
    Ok(())
}

/// A variable as it stands in the store.
fn encode(vendor: [u8; 16], name: &[u8], attributes: u32, data: &[u8]) -> Vec<u8> {
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

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}
