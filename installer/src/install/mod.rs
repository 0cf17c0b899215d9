//! The installation of a bundle to a disk.
//!
//! | module | holds |
//! | --- | --- |
//! | [`media_fingerprint`] | how a medium recognises a disk that it installed |
//! | `rollback_floor` | the rollback floor of the previous installation |
//! | [`answers`] | the answers file, `install.toml` |
//! | `request`, `error` | arguments and errors of an installation |
//! | `destination` | the disk, how it will be divided, and its new partition table |
//! | `verify_bundle` | the whole bundle verified before anything on the disk can be lost |
//! | `prepare` | signatures erased, boot record and partition table written |
//! | `procedure` | [`install`]: plan, prepare, apply |
//! | [`unattended`] | the choice of the disk and the installation, from an answers file |

pub mod answers;
mod destination;
mod error;
pub mod media_fingerprint;
mod prepare;
mod procedure;
mod request;
mod rollback_floor;
pub mod unattended;
mod verify_bundle;

pub use error::InstallError;
pub use procedure::{install, install_announced};
pub use request::{InstallOptions, InstallRequest};
