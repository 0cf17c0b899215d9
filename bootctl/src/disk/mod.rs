//! Disks.
//!
//! | module | holds |
//! | --- | --- |
//! | [`device`] | [`device::BlockDevice`], the seam to a disk, and its implementations |
//! | `gpt_disk` | [`Disk`]: a device whose partition table was read |
//! | `window` | [`Window`]: the bytes of one partition |

pub mod device;
mod gpt_disk;
mod window;

pub use gpt_disk::{Disk, DiskError};
pub use window::Window;
