//! Test support that knows the product: the sample releases, disk images as other tools read them,
//! a web server, and the simulated machine (`sim`). Virtual machines are in the crate `qemu`.
//!
//! | module | content |
//! | --- | --- |
//! | `catalogue` | the rows of docs/threat-model.md |
//! | `image` | partition tables and FAT file systems, read by other tools |
//! | `memory_machine` | a machine in memory for the real installer and updater |
//! | `project` | the files of the project, for tests that read documents and sources |
//! | `recording` | the log of a disk's writes, as QEMU records it |
//! | `sample` | the sample releases |
//! | `sim` | the simulated machine |
//! | `structure` | modules, imports and lengths of the sources |
//! | `web` | a web server for bundles |

pub mod catalogue;
mod image;
pub mod memory_machine;
pub mod project;
pub mod recording;
mod sample;
pub mod sim;
pub mod structure;
mod web;

pub use image::{Fat, Partition, digest_of, partition, partitions};
pub use sample::Sample;
pub use web::{Request, WebServer};
