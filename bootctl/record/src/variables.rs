//! GUIDs in EFI variables. The guard and Linux must agree on them, so each is written once.

use crate::guid::Guid;

/// Vendor GUID of our own EFI variables.
pub const VENDOR: Guid = Guid::from_fields(0xb269_79f1, 0x9f36, 0x4d93, 0x800d_db99_4868_7231);
/// Name of the variable by which the guard reports the hardware watchdogs that it armed for a slot:
/// one byte, their number, or [`WATCHDOG_NOT_WANTED`]. It has the attributes of the handoff.
pub const WATCHDOG_VARIABLE: &str = "RayosWatchdog";
/// The release does not declare that it feeds a hardware watchdog, so none was armed.
pub const WATCHDOG_NOT_WANTED: u8 = 0xff;
/// Vendor GUID of `BootOrder`, `Boot####` and the other variables of the specification
/// (`EFI_GLOBAL_VARIABLE`, UEFI 2.10, 3.3).
pub const EFI_GLOBAL: Guid = Guid::from_fields(0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
/// Vendor GUID of the Boot Loader Interface, <https://systemd.io/BOOT_LOADER_INTERFACE>.
pub const LOADER_INTERFACE: Guid =
    Guid::from_fields(0x4a67_b082, 0x0a4c, 0x41cf, 0xb6c7_440b_29bb_8c4f);
/// First 16 bytes of the optional data of our boot entries; the next byte is the
/// [`Choice::code`](crate::Choice::code) of the entry.
pub const ENTRY_TAG: Guid = Guid::from_fields(0x3f1c_3c52, 0x6a0e, 0x4f3b, 0x9d7e_5a52_b1c0_7ae1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn guids_have_the_written_form_of_their_documents() {
        for (guid, text) in [
            (EFI_GLOBAL, "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
            (LOADER_INTERFACE, "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"),
            (ENTRY_TAG, "3f1c3c52-6a0e-4f3b-9d7e-5a52b1c07ae1"),
            (VENDOR, "b26979f1-9f36-4d93-800d-db9948687231"),
        ] {
            assert_eq!(guid.to_string(), text);
        }
    }
}
