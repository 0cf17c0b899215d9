//! The third system: the same image starts from the stick, where it installs, and from the recovery
//! partition, where it mends.

pub mod medium;
pub mod onward;
