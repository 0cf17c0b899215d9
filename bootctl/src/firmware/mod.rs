//! The firmware, as Linux shows it.
//!
//! | module | holds |
//! | --- | --- |
//! | [`efivars`] | EFI variables |
//! | [`secure_boot`] | the state of Secure Boot, and whether a program carries a signature |

pub mod efivars;
pub mod secure_boot;
