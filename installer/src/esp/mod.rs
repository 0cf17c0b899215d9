//! The EFI system partition: one FAT file system, written whole by an installation and not changed
//! by an update.
//!
//! | module | holds |
//! | --- | --- |
//! | [`guards`] | the copies of the boot guard |

pub mod guards;

pub use bootctl::esp::fat::{EspContent, EspFile, MAX_LISTED_FILES, create, inspect, read};
pub use bootctl::esp::{GUARD_PATHS, REMOVABLE_PATH};
