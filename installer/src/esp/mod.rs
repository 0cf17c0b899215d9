//! The EFI system partition: one FAT file system, written whole by an installation and not changed
//! by an update.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fat`] | the file system: written, read, listed |
//! | `fat_dot_entries` | repair of what the FAT crate writes into directories |
//! | [`guards`] | the copies of the boot guard |

pub mod fat;
mod fat_dot_entries;
pub mod guards;

pub use fat::{
    EspContent, EspFile, GUARD_PATHS, MAX_LISTED_FILES, REMOVABLE_PATH, create, inspect, read,
};
