//! Keys, signatures and trust files.
//!
//! | module | holds |
//! | --- | --- |
//! | `file` | trust files |
//! | [`keys`] | keys and key files |
//! | [`pe`] | trusted keys embedded in a boot guard |
//! | `pem` | PEM texts with white space around them, and keys of other kinds |
//! | [`signing`] | signing a finished bundle |
//! | [`update`] | replacement of a trust file by a newer one |

pub(crate) mod file;
pub mod keys;
pub mod pe;
pub(crate) mod pem;
pub mod signing;
pub mod update;

pub use file::{Keys, TrustFile, TrustFileError, load, load_file, parse, parse_key_id};
