//! The GUID partition table.
//!
//! | module | holds |
//! | --- | --- |
//! | [`commit`] | a table as bytes, and the order in which they are written |
//! | [`existing`] | the table that a disk has |
//! | `patch` | that table with partitions added or removed |
//! | `build` | a new table for a whole disk |

mod build;
pub mod commit;
pub mod existing;
mod patch;

pub use commit::{Table, TableError};
pub use existing::{ExistingTable, TableEntry, UnusableTable};
