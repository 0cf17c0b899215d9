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

pub mod base;
pub mod cbor;
mod chunk;
pub mod create;
pub mod delta;
pub mod describe;
pub mod differ;
mod encoder;
mod head;
mod hint;
mod image_file;
mod index;
pub mod keys;
pub mod limits;
pub mod manifest;
pub mod open;
pub mod parallel;
pub mod pe;
mod read;
pub mod recipe;
mod release;
mod runs;
pub mod signing;
mod source;
pub mod trust;
pub mod trust_update;
pub mod verity;

pub use chunk::{DecodeError, DecodeFault, Decoder, HeaderFault, Source, check_header};
pub use create::create;
pub use encoder::Encoder;
pub use head::HeadParser;
pub use hint::{block_hint, hint_count, hints_of};
pub use index::{
    BASE_RANGE_LEN, BaseRange, CHUNK_ENTRY_LEN, ChunkEntry, ChunkKind, Index, IndexError,
    zero_digests,
};
pub use manifest::{ImageRole, Manifest, ManifestError, UpdaterVersion};
pub use read::{BundleReader, ReadError, StoredChunk, UncheckedChunk};
pub use release::{Image, Release};
pub use source::BlockingSource;

/// Bytes in lower-case hexadecimal. *Pure.*
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
