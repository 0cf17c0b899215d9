//! The few calls of Linux's device-mapper that a verified root needs: a device whose blocks are
//! verified while they are read (dm-verity), made without cryptsetup or libdevmapper.
//!
//! - [`Verity`]: the line of a table (Documentation/admin-guide/device-mapper/verity.rst). Pure.
//! - [`Control`]: `/dev/mapper/control` (`include/uapi/linux/dm-ioctl.h`).

mod control;
mod message;
mod verity;

pub use control::{Control, DeviceNumber, DmError};
pub use verity::{OnCorruption, Verity};
