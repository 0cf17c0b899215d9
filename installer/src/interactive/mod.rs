//! The interactive installer: decisions and screens as values. The program owns the terminals, the
//! disks and the clock.
//!
//! | module | holds |
//! | --- | --- |
//! | [`confirm`] | the confirmation of a write: the end of the disk's name, typed |
//! | [`keys`] | keys, decoded from the bytes of a terminal |
//! | [`progress`] | phases of a write, with rate and time left |
//! | [`session`] | what is known before the first screen; the draft of an installation |
//! | [`sizes`] | the sizes that can be changed, and their limits |
//! | [`model`] | states, events and commands |
//! | [`choices`] | the choices of each screen, with the reasons against each |
//! | [`view`] | a screen as a value |
//! | [`frame`] | that value on a full screen |
//! | [`plain`] | that value as questions and answers |
//! | `update` | the state machine |
//!
//! Each module imports only modules above it in this list.

pub mod choices;
pub mod confirm;
pub mod frame;
pub mod keys;
pub mod model;
pub mod plain;
pub mod progress;
pub mod session;
pub mod sizes;
mod update;
pub mod view;
