//! Variables written into OVMF's store from outside (EDK2, MdeModulePkg/Include/Guid/VariableFormat.h).

use anyhow::{Context as _, Result};
use std::path::Path;

/// Behind the header of the firmware volume and that of the store.
const FIRST: usize = 0x48 + 28;
const HEADER: usize = 60;
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// EFI_LOAD_OPTION (UEFI 2.10, 3.1.3) of a file on the partition with this HD() node.
pub(crate) fn load_option(label: &str, hd: &[u8], file: &str, data: &[u8]) -> Vec<u8> {
    let file = utf16(file);
    let node = [&[4, 4][..], &(file.len() as u16 + 4).to_le_bytes(), &file].concat();
    let path = [hd, &node, &[0x7f, 0xff, 4, 0]].concat();
    [&1_u32.to_le_bytes()[..], &(path.len() as u16).to_le_bytes(), &utf16(label), &path, data].concat()
}

/// Appends variables behind the last one of the store.
pub(crate) fn append(store: &Path, variables: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut bytes = std::fs::read(store)?;
    let mut at = FIRST;
    while bytes.get(at..at + 2) == Some(&[0xaa, 0x55]) {
        let size = |from: usize| -> Option<usize> {
            Some(u32::from_le_bytes(bytes.get(at + from..at + from + 4)?.try_into().ok()?) as usize)
        };
        let (name, data) = (size(36).context("store")?, size(40).context("store")?);
        at = (at + HEADER + name + data).next_multiple_of(4);
    }
    for (name, data) in variables {
        let name = utf16(name);
        let mut variable = vec![0xaa, 0x55, 0x3f, 0];
        variable.extend(7_u32.to_le_bytes());
        variable.resize(36, 0);
        variable.extend((name.len() as u32).to_le_bytes());
        variable.extend((data.len() as u32).to_le_bytes());
        variable.extend(GLOBAL);
        variable.extend(name);
        variable.extend(data);
        bytes.get_mut(at..at + variable.len()).context("store is full")?.copy_from_slice(&variable);
        at = (at + variable.len()).next_multiple_of(4);
    }
    std::fs::write(store, bytes)?;
    Ok(())
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
