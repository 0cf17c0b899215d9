//! Faults that machines in the field met: each test states what is right, in a machine of files.
//!
//! Others are beside the code that they are about: boot entries that firmware rewrote and copied,
//! and variables that cannot be read (`bootctl/tests/boot_entries/odd_entries.rs`), tables of larger disks
//! (`bootctl/tests/table_repair.rs`), health checks that are no programs (`bootctl::boot::health`),
//! proxies (`updater/tests`), the whole load option as options (`bootctl/guard/src/request.rs`). The
//! answers of a stick that was not started need a virtual machine (`qemu/medium.rs`).

mod computer;
mod disks;
mod files;
mod servers;
