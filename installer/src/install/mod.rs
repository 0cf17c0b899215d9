//! The installation of a bundle to a disk.
//!
//! | module | holds |
//! | --- | --- |
//! | [`answers`] | the answers file, `install.toml` |
//! | [`media_fingerprint`] | how a medium recognises a disk that it installed |
//! | `rollback_floor` | the rollback floor of the previous installation |
//! | [`procedure`] | partitions, boot record, first bundle |
//! | [`unattended`] | all of it, from an answers file |

pub mod answers;
pub mod media_fingerprint;
pub mod procedure;
mod rollback_floor;
pub mod unattended;

pub use procedure::{InstallError, InstallOptions, InstallRequest, install, install_announced};
