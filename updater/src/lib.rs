//! The one apply behind factory image, installation from a stick, update over the air and
//! re-install.
//!
//! A signed bundle comes from a [`source`]; its head is verified; a [`plan`] is made, which may
//! refuse; the target slot is disarmed, written, read back and activated, in the phases of
//! [`apply`]. The library never prints and never reboots: it reports to an [`events::EventSink`],
//! and returns what it did.
//!
//! From the ground up; a module names only those above it in this table:
//!
//! | module | holds |
//! | --- | --- |
//! | [`source`] | file, pipe or HTTP: ranges of bytes, with resume, limits and timeouts |
//! | [`plan`] | the decision: destinations of the images, or a refusal; pure |
//! | [`guard_keys`] | the keys in the boot guards on the disk, and what they refuse |
//! | `error` | [`ApplyError`] and [`ApplyFailure`] |
//! | [`events`] | what an apply reports while it works |
//! | `options` | [`TargetMachine`] and [`Options`] in, [`Outcome`] and [`Report`] out |
//! | `progress`, `worker_pool` | counting bytes; threads that stop |
//! | `slot` | the partitions of a slot: locations, seal, stored metadata, digests, writer |
//! | `batch` | chunks, in the portions that are fetched and written; pure |
//! | `scan` | where each chunk comes from: in place, the other slot, or the source |
//! | `pipeline` | fetch, decompress, verify, write, read back |
//! | [`apply`] | the phases in order, for an apply and for a repair |
//! | [`verify_slot`] | comparing a slot with what was signed |
//! | [`status`], [`lock_owner`], [`terminal`] | for command lines |

pub mod apply;
mod batch;
mod error;
pub mod events;
pub mod guard_keys;
pub mod lock_owner;
mod options;
mod pipeline;
pub mod plan;
mod progress;
mod scan;
mod slot;
pub mod source;
pub mod status;
pub mod terminal;
pub mod verify_slot;
mod worker_pool;

pub use apply::{Incoming, RepairOutcome, compare};
pub use error::{ApplyError, ApplyFailure, DamagedBase, ReadBackError};
pub use events::Amounts;
pub use options::{Options, Outcome, PhaseMs, PlaceGuard, Report, TargetMachine};
pub use slot::stored_metadata::SealedSlot;
