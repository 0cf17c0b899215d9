//! The boot guard: verifies the boot image of a slot, counts the try and starts it; if that fails,
//! it starts another one.
//!
//! All decisions are in this library and run on any machine. The program (`main.rs`) implements
//! [`Machine`] for the firmware. [`record::decide`] chooses what to start next; the running system
//! uses it, too.
//!
//! | module | holds |
//! | --- | --- |
//! | `clock` | the firmware's calendar as seconds |
//! | [`disk`] | disks by sector, and the partition table |
//! | `image` | a seal and the image that it signs, from a partition or a file |
//! | `machine` | [`Machine`]: what the guard needs of the firmware |
//! | `request` | the request by the boot entry |
//! | `run` | the loop: decide, spend the try, load, verify, start, repeat |
//! | `system` | the disk with the boot record: find it, read it, write it |
//! | [`watchdog`] | hardware watchdogs, armed before a slot is started |
#![no_std]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod clock;
pub mod disk;
mod image;
mod machine;
mod request;
mod run;
mod system;
pub mod watchdog;

pub use clock::seconds_of;
pub use disk::Source;
pub use image::{IMAGE_MAX, Refusal, Verified};
pub use machine::{Ended, Launch, Machine, Origin};
pub use request::parse_options;
pub use run::{Outcome, run};
