//! Disks.
//!
//! | module | holds |
//! | --- | --- |
//! | [`device`] | [`device::BlockDevice`], the seam to a disk, and its implementations |
//! | `gpt_disk` | [`Disk`]: a device whose partition table was read |
//! | `table_repair` | [`TableRepair`]: the copies of the table, repaired from one of them |
//! | `window` | [`Window`]: the bytes of one partition |

pub mod device;
mod gpt_disk;
mod table_repair;
mod window;

pub use gpt_disk::{Disk, DiskError};
pub use table_repair::{TableRepair, TableRepairError, header_with};
pub use window::Window;
