//! Keys, signatures, and who is trusted.
//!
//! | module | holds |
//! | --- | --- |
//! | [`file`] | trust files |
//! | [`keys`] | keys as files |
//! | [`pe`] | trusted keys built into a boot guard |
//! | `pem` | PEM texts as tools and people hand them on |
//! | [`signing`] | signing a finished bundle |
//! | [`update`] | replacing a trust file by a newer one |

pub(crate) mod file;
pub mod keys;
pub mod pe;
mod pem;
pub mod signing;
pub mod update;

pub use file::{Keys, TrustFile, TrustFileError, load, load_file, parse, parse_key_id};
