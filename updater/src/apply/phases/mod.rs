//! The phases of an apply or repair, in order: scan, verify, disarm, write, read back, activate.
//!
//! `stages` has a type for the state after each phase, and the order of the phases that change
//! anything.

mod activate;
mod disarm;
mod read_back;
mod scan;
mod stages;
mod verify;
mod write;
