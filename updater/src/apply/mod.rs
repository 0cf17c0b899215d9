//! The one apply, behind factory image, installation from a stick, update over the air and
//! re-install.
//!
//! Its phases are types: what disarms gives what can write, what writes gives what can be read
//! back, and only what was read back can be activated.

mod full_bundle;
mod incoming;
mod phases;
mod repair;
mod secure_boot;
mod take;
mod work;
mod write_slot;

pub use incoming::Incoming;
pub use repair::Repaired;
