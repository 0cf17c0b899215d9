//! The block device seam: the one way to a disk, for everything above it.
//!
//! | module | holds |
//! | --- | --- |
//! | `aligned` | [`AlignedBuffer`]: memory for direct reads and writes |
//! | `block_device` | [`BlockDevice`], the trait |
//! | `fenced` | [`Fenced`]: a device of which only some ranges may be written |
//! | `file` | [`FileDevice`]: a block device or an image file, through the kernel |
//! | `memory` | [`MemDevice`]: a device in memory |

mod aligned;
mod block_device;
mod fenced;
mod file;
mod memory;

pub use aligned::{ALIGNMENT, AlignedBuffer};
pub use block_device::{BlockDevice, is_zero};
pub(crate) use block_device::{is_inside, outside};
pub use fenced::Fenced;
pub use file::{Access, FileDevice, OpenError, SectorSize};
pub use memory::MemDevice;
