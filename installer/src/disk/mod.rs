//! Disks: which there are, which may be written, and how one is divided.
//!
//! | module | holds |
//! | --- | --- |
//! | [`layout`] | sizes of the partitions, and their positions on a blank disk |
//! | [`table`] | the GUID partition table: read, changed and written |
//! | [`coexist`] | their positions on a disk with other systems |
//! | `usage` | what a disk is in use for, from procfs |
//! | [`disks`] | the disks of this machine, from sysfs |
//! | [`safety`] | every reason against writing a disk |
//! | [`choose`] | from all disks to the one to install to |
//! | [`plan_report`] | the result as JSON |
//!
//! Each module imports only modules above it in this list.

pub mod choose;
pub mod coexist;
pub mod disks;
pub mod layout;
pub mod plan_report;
pub mod safety;
pub mod table;
mod usage;
