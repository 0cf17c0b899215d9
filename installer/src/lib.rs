//! Installation of RayOS: chooses a disk, creates the slots, applies the first bundle to one.
//!
//! The slots are written by `updater::apply`, the same procedure as for every later update. This
//! crate adds what an update does not need: choosing a disk, partitioning it, and placing the boot
//! guard. It is also used by `rayos-recovery`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`disk`] | disks of this machine, which of them may be written, partition layout and table |
//! | [`esp`] | the EFI system partition: its FAT file system and the copies of the boot guard |
//! | [`install`] | the installation itself, attended by an operator or by an answers file |
//! | [`interactive`] | the installation with questions: decisions and screens as values |
//! | [`media`] | installation media: a stick, or its file system |
//! | [`exit_status`] | exit codes of the errors of this crate |
//! | [`host`] | randomness, threads and restart: what the programs take from their machine |
//! | [`progress_markers`] | lines by which a test follows an installation |
//!
//! Imports go one way: `interactive` uses `install` and `disk`; `media` and `install` use `disk` and
//! `esp`, which do not use each other.

pub mod disk;
pub mod esp;
pub mod exit_status;
pub mod host;
pub mod install;
pub mod interactive;
pub mod media;
pub mod progress_markers;
