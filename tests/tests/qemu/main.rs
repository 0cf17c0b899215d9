//! Scenarios in virtual machines: firmware, guard, kernel and our programs, from the installation
//! stick to the fallback.
//!
//! Scenarios run in any order and side by side, because most of them begin with a copy of the same
//! installed machine ([`installed`]). [`scenario`] is the frame of all.

mod beside;
mod cloned_disk;
mod damage;
mod debian;
mod disk_errors;
mod disk_oracle;
mod esp;
mod fallback;
mod firmware;
mod foreign_stick;
mod install;
mod installed;
mod media;
mod medium;
mod network;
mod power_cuts;
mod questions;
mod recorded_writes;
mod recovery;
mod refuse;
mod scenario;
mod secure_boot;
mod systemd;
mod update;
mod verified_root;
