//! The one apply behind factory image, installation from a stick, update over the air and
//! re-install.
//!
//! A signed bundle comes from a [`source`]; its head is verified; a [`plan`] is made, which may
//! refuse; the target slot is disarmed, written, read back and activated, in the phases of
//! [`apply`]. The library never prints and never reboots: it tells an [`events::EventSink`], and
//! returns what it did.

pub mod apply;
mod base;
mod batch;
pub mod check;
pub mod events;
pub mod fetch;
mod full;
mod hand;
mod hints;
pub mod holder;
mod kept;
mod phases;
mod places;
pub mod plan;
mod proving;
mod read_back;
pub mod repair;
mod secure_boot;
mod seeds;
mod sink;
pub mod source;
pub mod status;
mod supply;
mod survey;
pub mod terminal;
pub mod twin;
pub mod verify_slot;
mod workers;

pub use base::DamagedBase;
pub use read_back::ReadBackError;
pub use survey::Amounts;
