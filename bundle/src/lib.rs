//! The bundle: one signed file that holds a whole release.
//!
//! `seal | manifest | chunk index | payload | block hints`. The signed statement in the seal holds
//! length and SHA-256 of the manifest, the manifest those of the index and the hints, and the index
//! those of each chunk of the payload. Each is authenticated before it is parsed or decompressed
//! and before memory is allocated for it. `docs/format.md` specifies every byte.
//!
//! - To read a bundle: [`BundleReader`] from front to back, or [`HeadParser`] and
//!   [`StoredChunk::check`] for chunks that are fetched one by one.
//! - To create one: [`recipe`] and [`create()`]; to sign it: [`trust::signing`].
//!
//! | module | holds |
//! | --- | --- |
//! | `hex` | bytes as hexadecimal text |
//! | [`parallel`] | ordered work on many threads |
//! | [`verity`] | the hash tree over a root image, digests of chunks |
//! | `format` | the bytes: CBOR, manifest, index, hints, limits |
//! | `read` | head parser, reader, decoder |
//! | [`trust`] | keys, trust files, signing |
//! | [`open`] | checks and extracts whole bundles |
//! | [`mod@create`] | creates a bundle from a recipe |
//! | [`delta`] | creates a delta bundle from two bundles |
//! | [`report`] | describes and compares releases |
//!
//! A module imports only from modules above it.

pub mod create;
pub mod delta;
mod format;
mod hex;
pub mod open;
pub mod parallel;
mod read;
pub mod report;
pub mod trust;
pub mod verity;

pub use create::encoder::Encoder;
pub use create::{create, recipe};
pub use format::hint::{block_hint, hint_count, hints_of};
pub use format::index::{
    BASE_RANGE_LEN, BaseRange, CHUNK_ENTRY_LEN, ChunkEntry, ChunkKind, Index, IndexError,
};
pub use format::manifest::{ImageRole, Manifest, ManifestError, UpdaterVersion};
pub use format::zeroes::zero_digests;
pub use format::{cbor, limits, manifest};
pub use hex::hex;
pub use read::chunk::{StoredChunk, UncheckedChunk};
pub use read::decoder::{Decoder, Source, check_header};
pub use read::error::{DecodeError, DecodeFault, HeaderFault, ReadError};
pub use read::head::HeadParser;
pub use read::reader::BundleReader;
pub use read::release::{Image, Release};
pub use trust::keys;
