//! The hash tree over a root image, by which the kernel verifies each block while it is read.
//!
//! It is dm-verity's, format 1: SHA-256, data and hash blocks of 4096 bytes, no salt. The image's
//! blocks are hashed; 128 hashes fill a block of level 0, which is hashed in turn, up to one block
//! whose hash is the *root hash*. Only the root hash is signed and shipped: a machine builds the
//! tree from the block hashes that make up the digests of the chunks ([`digest`]), and writes it
//! behind the image ([`Layout`]).
//!
//! - [`digest`]: hash of a block, digest of a chunk.
//! - [`Layout`]: where everything is.
//! - [`TreeBuilder`]: the tree, from block hashes in any order.
//! - [`check()`]: a tree on a medium against a root hash.

mod builder;
mod check;
pub mod digest;
mod layout;

pub use builder::{MissingBlock, TreeBuilder, TreePiece};
pub use check::{TreeError, check};
pub use digest::Hash;
pub use layout::{BLOCK, HASHES_PER_BLOCK, Layout};
