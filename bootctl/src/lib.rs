//! The boot record, the fallback counters and the `Boot####` entries of a machine, as Linux sees
//! them.

pub mod collect;
pub mod device;
pub mod disk;
pub mod efivars;
pub mod entry;
pub mod evidence;
pub mod firmware;
pub mod health;
pub mod log;
pub mod machine;
pub mod pstore;
pub mod reconcile;
pub mod secure_boot;
pub mod status;
pub mod store;
pub mod story;
pub mod sysfs;
pub mod system;
pub mod transition;
pub mod watch;
