//! The whole path in virtual machines: firmware, guard, kernel, and our programs, from the stick to
//! the fallback.
//!
//! Each scenario begins with a copy of the same installed machine (see [`installed`]), so that they
//! run in any order and side by side.

mod bad_disk;
mod beside;
mod damage;
mod esp;
mod fallback;
mod firmware;
mod install;
mod installed;
mod judge;
mod kills;
mod media;
mod medium;
mod network;
mod recorded;
mod recovery;
mod refuse;
mod secure_boot;
mod stranger;
mod systemd;
mod twin;
mod update;
