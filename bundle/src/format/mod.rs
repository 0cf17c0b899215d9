//! The bytes of a bundle.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cbor`] | deterministic CBOR, the encoding of the manifest |
//! | [`hint`] | block hints |
//! | [`index`] | the chunk index |
//! | [`limits`] | every limit, and the attack that it stops |
//! | [`manifest`] | the manifest |
//! | [`zeroes`] | digests of zeroes |

pub mod cbor;
pub(crate) mod hint;
pub(crate) mod index;
pub mod limits;
pub mod manifest;
pub(crate) mod zeroes;
