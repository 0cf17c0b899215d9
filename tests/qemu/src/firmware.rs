//! UEFI firmware for QEMU (OVMF).

use std::path::Path;

/// UEFI firmware and the variable store that a new machine begins with. The files are those of the
/// package `ovmf` of Debian and Ubuntu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Without Secure Boot.
    Plain,
    /// With Secure Boot, off until keys are enrolled in the variable store.
    SecureBootWithoutKeys,
    /// With Secure Boot on: it accepts what the test key of the package has signed.
    SecureBoot,
}

impl Firmware {
    /// The firmware's code. *Pure.*
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Plain => "/usr/share/OVMF/OVMF_CODE_4M.fd",
            Self::SecureBootWithoutKeys | Self::SecureBoot => {
                "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
            }
        }
    }

    /// The variable store that is copied for a new machine. *Pure.*
    pub(crate) const fn variables(self) -> &'static str {
        match self {
            Self::Plain | Self::SecureBootWithoutKeys => "/usr/share/OVMF/OVMF_VARS_4M.fd",
            Self::SecureBoot => "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
        }
    }
}

/// Returns a firmware file that is not installed on this host, if there is one. *Reads.*
#[must_use]
pub fn missing_firmware() -> Option<&'static str> {
    [Firmware::Plain, Firmware::SecureBoot]
        .into_iter()
        .flat_map(|firmware| [firmware.code(), firmware.variables()])
        .find(|file| !Path::new(file).exists())
}
