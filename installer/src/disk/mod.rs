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
//! | [`file_system`] | the file system at the start of a partition |
//! | [`disk_map`] | every range of a disk, and what is there, for people |
//! | [`drawing`] | that map as text, to scale |
//! | [`choose`] | from all disks to the one to install to |
//! | [`disk_facts`] | all of that, for each disk of the machine |
//! | [`plan_report`] | the plan as JSON, and its hash |
//! | [`plan_text`] | the plan for people |
//!
//! Each module imports only modules above it in this list.

pub mod choose;
pub mod coexist;
pub mod disk_facts;
pub mod disk_map;
pub mod disks;
pub mod drawing;
pub mod file_system;
pub mod layout;
pub mod plan_report;
pub mod plan_text;
pub mod safety;
pub mod table;
mod usage;
