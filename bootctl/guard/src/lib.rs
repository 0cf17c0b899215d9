//! The boot guard: starts a slot whose boot image it has verified, counts, and comes back with
//! another when that fails.
//!
//! Everything that decides is in this library and runs on any machine; the program (`main.rs`)
//! brings the firmware in as a [`Machine`]. What is started next is not decided here but by
//! [`record::decide`], which the running system calls too.
//!
//! ```text
//! run       the loop: decide, spend the try, load, verify, start, go on
//! system    the disk with the record on it: find, read, write, tell
//! image     a seal and the bytes it vouches for, from a partition or a file
//! disk      sectors, and the partition table
//! clock     the firmware's calendar as seconds
//! request   what the boot entry asks for
//! watchdog  hardware watchdogs, armed before the hand-over
//! ```
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
pub use image::{IMAGE_MAX, Refusal, Source, Verified};
pub use machine::{Ended, Launch, Machine, Origin};
pub use request::parse_options;
pub use run::{Outcome, run};
