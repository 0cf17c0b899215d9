//! The interactive installer: decisions and screens as values. The program owns the terminals.
//!
//! | module | holds |
//! | --- | --- |
//! | [`confirm`] | the confirmation of a write: the end of the disk's name, typed |

pub mod confirm;
