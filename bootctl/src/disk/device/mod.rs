//! The block device seam: the only way to a disk, for everything above it.
//!
//! | module | holds |
//! | --- | --- |
//! | `adapter` | [`DeviceAdapter`]: a device that passes its calls on to another one |
//! | `aligned` | [`AlignedBuffer`]: memory for direct reads and writes |
//! | `attributes` | what sysfs shows of an open device |
//! | `block_device` | [`BlockDevice`], the trait |
//! | `device_lock` | [`DeviceLock`]: one change of boot record or event ring at a time |
//! | `direct` | reads that bypass the page cache |
//! | `file` | [`FileDevice`]: a block device or an image file, through the kernel |
//! | `memory` | `MemDevice`: a device in memory, for tests (feature `simulation`) |
//! | `open` | how a device is opened, and why that can fail |
//! | `write_fence` | [`WriteFence`]: a device of which only some ranges can be written |

mod adapter;
mod aligned;
mod attributes;
mod block_device;
mod device_lock;
mod direct;
mod file;
#[cfg(any(test, feature = "simulation"))]
mod memory;
mod open;
mod write_fence;

pub use adapter::DeviceAdapter;
pub use aligned::{ALIGNMENT, AlignedBuffer};
pub use block_device::{BlockDevice, is_zero};
pub(crate) use block_device::{is_inside, outside};
pub use device_lock::DeviceLock;
pub use file::FileDevice;
#[cfg(any(test, feature = "simulation"))]
pub use memory::MemDevice;
pub use open::{Access, OpenError, SectorSize};
pub use write_fence::WriteFence;
