//! The GUID partition table: read, changed and written.
//!
//! | module | holds |
//! | --- | --- |
//! | [`commit`] | a table as bytes, and the order in which they are written |
//! | [`existing`] | the table that a disk has |
//! | `patch` | that table with partitions removed or added |
//! | `build` | a new table for a whole disk |
//!
//! There is one writer of entries, `patch`, which changes 128 bytes for each partition and nothing
//! else. It is this crate's own because the `gpt` crate renumbers entries, writes both copies
//! before it flushes, and assumes a table that it created itself. The `gpt` crate creates the empty
//! table of a whole disk, in memory (`build`), and reads back every table in tests.

mod build;
pub mod commit;
pub mod existing;
mod patch;

pub use commit::{Table, TableError};
pub use existing::{ExistingTable, TableEntry, UnusableTable};
