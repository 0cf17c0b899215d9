//! The boot record, the fallback counters and the `Boot####` entries of a machine, from Linux.
//!
//! | module | holds |
//! | --- | --- |
//! | [`boot`] | what is started and why: transitions of the boot record, boot entries, health, status |
//! | [`disk`] | block devices, the partition table, and a window on each partition |
//! | [`esp`] | the EFI system partition and the copies of the boot guard in it |
//! | [`firmware`] | EFI variables and Secure Boot |
//! | `firmware_model` | a model of a firmware's boot manager, for tests (feature `simulation`) |
//! | [`machine`] | one machine: its disk, its EFI variables and its handoff together |
//! | [`state`] | the state partition: boot record, event ring, and panics moved into it |
//! | [`sysfs`] | the block devices that the kernel shows |
//! | [`system`] | `/etc/rayos/system.toml` |
//!
//! A module may import from those below it: `machine` → `sysfs`, `boot` → `state` → `firmware` →
//! `disk`. Callers may name the modules within `boot`, `disk`, `firmware` and `state` by the short
//! paths that are re-exported here.

pub mod boot;
pub mod disk;
pub mod esp;
pub mod firmware;
#[cfg(any(test, feature = "simulation"))]
pub mod firmware_model;
pub mod machine;
pub mod state;
pub mod sysfs;
pub mod system;

pub use boot::{
    entry, evidence, failure_report, health, reconcile, status, transition, verified_root, watch,
};
pub use disk::device;
pub use firmware::{efivars, secure_boot};
pub use state::{collect, links, log, pstore, store};
