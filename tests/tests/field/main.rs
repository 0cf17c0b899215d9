//! Faults that installations in the field would show: each test states what is right, in a machine
//! of files.

mod computer;
mod disks;
mod files;
