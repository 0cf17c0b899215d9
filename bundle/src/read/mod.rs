//! Reading a bundle: its head, its chunks, and their decoding.
//!
//! | module | holds |
//! | --- | --- |
//! | [`chunk`] | the stored bytes of a chunk, unchecked and checked |
//! | [`decoder`] | from stored bytes to the image's bytes |
//! | [`error`] | why a bundle or a chunk is refused |
//! | [`head`] | the parser of seal, manifest and index |
//! | [`reader`] | a bundle from front to back |
//! | [`release`] | a release as its head describes it |
//! | [`source`] | a blocking reader as an asynchronous source |

pub(crate) mod chunk;
pub(crate) mod decoder;
pub(crate) mod error;
pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod release;
pub(crate) mod source;
