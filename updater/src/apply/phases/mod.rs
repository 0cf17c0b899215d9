//! The phases of an apply, as types: what disarms gives what can write, what was written can be
//! read back, and only what was read back can be activated.

mod activate;
mod disarm;
mod read_back;
mod scan;
mod stages;
mod verify;
mod write;
