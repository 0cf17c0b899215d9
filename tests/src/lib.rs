//! The machine that scenarios run on: QEMU with UEFI firmware, its console, its disks and a web
//! server beside it; and the simulated machine.
//!
//! A scenario says what it waits for and for how long at most; nothing here sleeps for luck. When a
//! step does not come about, the [`Failure`] names it, with the end of the console, the full log's
//! path and QEMU's command line.
//!
//! ```no_run
//! # fn main() -> Result<(), tests::Failure> {
//! use tests::{Disk, Machine, Scratch};
//! let scratch = Scratch::new("example")?;
//! let mut machine = Machine::new(&scratch).disk(Disk::virtio("disk.img")).start("first")?;
//! machine.step("the release comes up").expect("RAYOS:UP")?;
//! let shell = machine.run("rayos-bootctl status")?;
//! assert_eq!(shell.code, 0);
//! # Ok(()) }
//! ```

mod accelerator;
pub mod catalogue;
mod console;
mod effort;
mod failing;
mod failure;
mod image;
mod machine;
mod qmp;
pub mod recorded;
mod running;
mod sample;
mod scratch;
pub mod sim;
mod terminal;
mod web;

pub use accelerator::Accelerator;
pub use failing::Broken;
pub use failure::Failure;
pub use image::{Fat, Partition, digest_of, partition, partitions};
pub use machine::{Bus, Disk, Machine};
pub use running::{Running, Shell};
pub use sample::Sample;
pub use scratch::Scratch;
pub use web::{Request, WebServer};
