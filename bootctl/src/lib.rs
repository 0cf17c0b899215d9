//! The boot record, the fallback counters and the `Boot####` entries of a machine, as Linux sees them.

pub mod device;
pub mod disk;
pub mod efivars;
pub mod entry;
pub mod evidence;
pub mod log;
pub mod reconcile;
pub mod store;
pub mod sysfs;
pub mod transition;
