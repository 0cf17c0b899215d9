//! The bundle: one signed file that holds a whole release.
//!
//! `seal | manifest | chunk index | payload | block hints`. The seal's signed statement fixes
//! length and SHA-256 of the manifest, the manifest those of the index and the hints, the index
//! those of every chunk of the payload; each is authenticated before it is parsed, allocated for or
//! decompressed. `docs/format.md` has every byte of it.
//!
//! - Read: [`BundleReader`] from front to back, or [`HeadParser`] and [`StoredChunk::check`] for
//!   chunks fetched one by one.
//! - Make: [`recipe`] and [`create()`]; sign: [`keys`] and [`signing`]; whom to trust: [`trust`].
//!
//! | module | holds |
//! | --- | --- |
//! | `hex` | bytes as text |
//! | [`parallel`] | ordered work on many threads |
//! | [`verity`] | the hash tree over a root image, digests of chunks |
//! | `format` | the bytes: CBOR, manifest, index, hints, limits |
//! | `read` | head parser, reader, decoder |
//! | [`trust`] | keys, trust files, signing |
//! | [`open`] | a whole bundle checked or extracted |
//! | [`create`] | a bundle made of a recipe |
//! | [`delta`] | a delta bundle made of two bundles |
//! | [`report`] | releases described and compared |
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
pub use read::source::BlockingSource;
pub use trust::keys;
