//! The one apply, behind factory image, installation from a stick, update over the air and
//! re-installation; and the repair of a slot, which has the same phases.
//!
//! The phases are types: disarming returns what can write, writing returns what can be read back,
//! and only what was read back can be activated.
//!
//! | module | holds |
//! | --- | --- |
//! | `incoming` | [`Incoming`]: a bundle whose head is verified |
//! | `images` | its images in memory, for media |
//! | `verify_payload` | its whole payload verified, before an installation erases a disk |
//! | `full_bundle` | the full bundle that serves a delta when its base is damaged |
//! | `operation` | the context of all phases |
//! | `secure_boot` | the check of the boot image's signature |
//! | `phases` | scan, verify, disarm, write, read back, activate |
//! | `update`, `repair` | the two verbs: plan, then the phases |

mod full_bundle;
mod images;
mod incoming;
mod operation;
mod phases;
mod repair;
mod secure_boot;
mod update;
mod verify_payload;

pub use incoming::Incoming;
pub use repair::RepairOutcome;
pub use update::compare;
