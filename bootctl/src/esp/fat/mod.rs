//! The FAT file system of the EFI system partition: all use of the crate `fatfs`.
//!
//! | module | holds |
//! | --- | --- |
//! | `block_stream` | a device as a stream of bytes, with one block in memory |
//! | `dot_entries` | repair of the `.` and `..` entries that `fatfs` writes |
//! | `format` | an empty file system, and the boot sector that it has |
//! | `volume` | [`create`], [`read`], [`read_each`], [`inspect`] |
//!
//! `fatfs` 0.3.6 needs two workarounds:
//!
//! - It writes long names for `.` and `..`, which fsck reports as damage
//!   (<https://github.com/rafalh/rust-fatfs/issues/117>). `dot_entries` rewrites these entries. It
//!   can go once a release of `fatfs` contains the fix: the tests run fsck.
//! - It trusts the boot sector of the file system that it opens. `format` compares that sector
//!   with the one that [`create`] writes, so that a damaged one is not opened, and `block_stream`
//!   bounds the number of reads, so that a circular cluster chain ends.

mod block_stream;
mod dot_entries;
mod format;
mod volume;

pub use volume::{EspContent, EspFile, MAX_LISTED_FILES, create, inspect, read, read_each};
