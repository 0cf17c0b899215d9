//! The one reader of GUID partition tables (UEFI 2.10, 5.3), for the guard, `bootctl` and the
//! installer. Nothing here writes one.
//!
//! | module | holds |
//! | --- | --- |
//! | `backup` | where the backup copy may be |
//! | `found` | [`Found`]: our partitions, and others with the same types |
//! | `header` | [`Header`]: the checked fields of a header's sector |
//! | `partitions` | [`Partitions`]: our partitions among the entries |
//! | `table` | [`read`] and [`TableCopy::read`], which read a disk |
//!
//! A table stands on a disk twice, the primary copy at its beginning and the backup at its end, or,
//! after an image was written to a larger disk, at the end of the image. A header counts only
//! together with its own array of entries.

mod backup;
mod found;
mod header;
mod partitions;
mod table;

pub use backup::Search;
pub use found::Found;
pub use header::{ENTRY_LEN, GptError, Header, MAX_ARRAY_LEN};
pub use partitions::{Partition, Partitions, entries};
pub use table::{CopyError, NoTable, Table, TableCopy, read, search};
