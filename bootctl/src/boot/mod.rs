//! What the machine starts, and why.
//!
//! | module | holds |
//! | --- | --- |
//! | `boot_vars` | [`reconcile::BootVars`] and [`reconcile::Action`]: the variables that decide what the firmware starts |
//! | [`entry`] | `EFI_LOAD_OPTION`: the bytes of a boot entry |
//! | [`evidence`] | the sealed releases from which a lost boot record is rebuilt |
//! | [`failure_report`] | why a release failed, from the record and the event ring |
//! | [`health`] | the health checks of a running system |
//! | [`reconcile`] | boot entries brought in line with the boot record |
//! | [`status`] | the state of a machine in words and as JSON |
//! | [`transition`] | the pure state transitions of the boot record |
//! | [`verified_root`] | the root device whose blocks are verified while they are read |
//! | [`watch`] | what a running health check reports to other programs |

mod boot_vars;
pub mod entry;
pub mod evidence;
pub mod failure_report;
pub mod health;
pub mod reconcile;
pub mod status;
pub mod transition;
pub mod verified_root;
pub mod watch;
