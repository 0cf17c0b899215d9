//! The boot record, the fallback counters and the `Boot####` entries of a machine, as Linux sees them.

pub mod device;
pub mod efivars;
