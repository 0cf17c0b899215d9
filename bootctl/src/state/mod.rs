//! The state partition: boot record, trust links and event ring.
//!
//! | module | holds |
//! | --- | --- |
//! | [`collect`] | kernel panics moved from pstore into the event ring |
//! | [`kernel_version`] | the versions of our kernels |
//! | [`links`] | the trust links |
//! | [`log`] | the event ring |
//! | [`pstore`] | kernel panics that the firmware kept |
//! | [`store`] | the two copies of the boot record |

pub mod collect;
pub mod kernel_version;
pub mod links;
pub mod log;
pub mod pstore;
pub mod store;
