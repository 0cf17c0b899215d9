//! Releases described and compared, for people and for machines.
//!
//! | module | holds |
//! | --- | --- |
//! | [`describe`] | a release as text and as JSON |
//! | [`diff`] | differences between two releases, and between a release and a device |

pub mod describe;
pub mod diff;
