//! Installing RayOS: choose a disk, create the slots, apply the first bundle to one of them.
//!
//! This is all that an installation has over an update: [`disks`] and [`safety`] say which disk may
//! be written, [`layout`] and [`table`] create the partitions, [`esp`] holds the guard. The rest is
//! `updater::Incoming::apply`.

pub mod answers;
pub mod beside;
pub mod choose;
pub mod disks;
mod dots;
pub mod ending;
pub mod esp;
mod floor;
pub mod guards;
pub mod host;
pub mod install;
pub mod layout;
pub mod mark;
pub mod marker;
pub mod media;
pub mod report;
pub mod safety;
pub mod table;
pub mod unattended;
