//! Limits of the format, each with the attack that it stops.

/// Maximum length of a manifest, in bytes: bounds what a machine buffers for a signer's mistake or
/// a stolen key.
pub const MAX_MANIFEST_LEN: u64 = 1 << 20;
/// Maximum nesting depth of the manifest: stops the stack exhaustion of recursive decoders
/// (RUSTSEC-2019-0025).
pub const MAX_MANIFEST_DEPTH: usize = 6;
/// Maximum number of chunks of a bundle: bounds the index to 16 MiB as stored, and to 28 MiB more
/// once it is decoded. Enough for 4 GiB of images in chunks of 16 KiB, or 1 TiB in chunks of 4 MiB.
pub const MAX_CHUNKS: u64 = 1 << 18;
/// Maximum number of base ranges of a delta bundle: bounds their table to 16 MiB.
pub const MAX_BASE_RANGES: u64 = 1 << 20;
/// Maximum length of a chunk, uncompressed, in bytes: bounds the buffer of one worker against
/// decompression bombs.
pub const MAX_CHUNK_LEN: u32 = 4 << 20;
/// Maximum length of a run, uncompressed, in bytes: a run is decoded as one unit, so this bounds
/// the memory of one worker.
pub const MAX_RUN_LEN: u32 = 4 << 20;
/// Alignment of chunks, in bytes: every chunk of an image but the last is a multiple of it, so that
/// no write to a device needs a read first.
pub const BLOCK_LEN: u32 = 4096;
/// Maximum length of the base ranges of one delta chunk, all together, in bytes: bounds the memory
/// of one worker.
pub const MAX_PREFIX_LEN: u64 = 16 << 20;
/// Maximum number of compatible names: bounds the comparison, and the plan that prints them.
pub const MAX_COMPATIBLE: usize = 64;
/// Maximum length of a compatible name, or of the name of a build fact or an extension, in bytes:
/// each is printed on one line.
pub const MAX_NAME_LEN: usize = 64;
/// Maximum number of build facts, which people read.
pub const MAX_BUILD_FACTS: usize = 256;
/// Maximum length of the value of a build fact, in bytes.
pub const MAX_BUILD_VALUE_LEN: usize = 4096;
/// Maximum length of the release notes, in bytes: they are printed on a console.
pub const MAX_NOTES_LEN: usize = 64 << 10;
/// Maximum number of extensions. None is defined yet.
pub const MAX_EXTENSIONS: usize = 64;
/// Length of one block hint, in bytes.
pub const HINT_LEN: u64 = 5;
