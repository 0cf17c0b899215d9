//! The recovery system: one image, which installs from a medium and repairs from the disk.
//!
//! | module | holds |
//! | --- | --- |
//! | [`origin`] | the device that the firmware started this system from |
//! | [`medium`] | the installation medium: found, mounted, its answers and its bundle |
//! | [`boot_installed`] | booting the existing installation instead of the medium |
//! | [`guard_repair`] | restoring the boot guard to a disk that the firmware cannot start |

pub mod boot_installed;
pub mod guard_repair;
pub mod medium;
pub mod origin;
