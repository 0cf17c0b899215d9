//! The EFI system partition: one FAT file system, written whole by an installation and not changed
//! by an update.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fat`] | the file system: created, read, listed |
//! | [`guards`] | the copies of the boot guard |

pub mod fat;
pub mod guards;

pub use fat::{EspContent, EspFile, MAX_LISTED_FILES, create, inspect, read};
pub use guards::{GUARD_PATHS, REMOVABLE_PATH};
