//! Reading a bundle: its head, its chunks, and their decoding.
//!
//! | module | holds |
//! | --- | --- |
//! | [`chunk`] | the stored bytes of a chunk, unchecked and checked |
//! | [`decoder`] | decodes stored bytes to the image's bytes |
//! | [`error`] | reasons to refuse a bundle or a chunk |
//! | [`head`] | the parser of seal, manifest and index |
//! | [`reader`] | a bundle from front to back |
//! | [`release`] | a release as its head describes it |

pub(crate) mod chunk;
pub(crate) mod decoder;
pub(crate) mod error;
pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod release;
