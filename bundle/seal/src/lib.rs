//! The seal of a release: one 4 KiB block with a statement about the release and its signatures.
//!
//! The same block is the first 4 KiB of a bundle file and of a boot partition: the updater verifies
//! a bundle, and the boot guard a boot image, with one set of signatures. The layout is binary and
//! fixed, so that the guard needs no CBOR parser. Every byte is either checked or must be zero.
//!
//! | module | holds |
//! | --- | --- |
//! | `error` | [`SealError`] and [`VerifyError`] |
//! | [`field`] | fields of fixed layouts: integers, texts |
//! | `key` | key ids, roles, purposes |
//! | [`pe`] | the headers of EFI programs |
//! | `chain` | [`Link`] and [`TrustChain`]: how trust is replaced on a machine |
//! | `seal` | [`Seal`] |
//! | `signatures` | the signature entries of seals and links |
//! | `statement` | [`Statement`] |
//! | `trust` | [`Trust`] and the verification of signatures |
//!
//! ```text
//! offset  bytes  content
//!      0    512  statement, the bytes that are signed (see [`Statement`])
//!    512      4  number of signatures, 0 to 16
//!    516     12  zero
//!    528   1536  16 signature entries of 96 bytes (see [`SignatureEntry`]), unused ones zero
//!   2064   2028  zero
//!   4092      4  CRC-32 (IEEE) of the bytes before it: detects damage, does not stop forgery
//! ```
//! All integers are little-endian.
#![no_std]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod chain;
mod error;
pub mod field;
mod key;
pub mod pe;
mod seal;
mod signatures;
mod statement;
mod trust;

pub use chain::{
    Accepted, LINK_DOMAIN, LINK_LEN, LINK_MESSAGE_LEN, Link, LinkError, MAX_LINKS, TrustChain,
    parse_links, stored_links,
};
pub use error::{SealError, VerifyError};
pub use field::Text64;
pub use key::{KeyError, KeyId, MAX_SIGNATURES, Purpose, Role, parse_public_key};
pub use seal::{SEAL_LEN, Seal};
pub use signatures::SignatureEntry;
pub use statement::{
    DOMAIN, ImageDigest, STATEMENT_LEN, Statement, StatementError, VERITY_BLOCK, VerifiedRoot,
};
pub use trust::{
    MAX_TRUSTED_KEYS, TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust, TrustError, TrustedKey,
};
