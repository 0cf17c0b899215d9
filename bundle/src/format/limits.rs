//! Every limit of the format, and the attack that each one stops.

/// Longest manifest, in bytes: a signer's mistake or a stolen key must not make a machine buffer
/// without end.
pub const MAX_MANIFEST_LEN: u64 = 1 << 20;
/// Deepest nesting of the manifest: stops the stack exhaustion of recursive decoders
/// (RUSTSEC-2019-0025).
pub const MAX_MANIFEST_DEPTH: usize = 6;
/// Most chunks of a bundle: bounds the index to 16 MiB as stored, and to 28 MiB more once it is
/// read; 4 GiB of images in chunks of 16 KiB, 1 TiB in chunks of 4 MiB.
pub const MAX_CHUNKS: u64 = 1 << 18;
/// Most base ranges of a delta bundle: bounds their table to 16 MiB.
pub const MAX_BASE_RANGES: u64 = 1 << 20;
/// Longest chunk, uncompressed, in bytes: the buffer of one worker, whatever a decompression bomb
/// would like.
pub const MAX_CHUNK_LEN: u32 = 4 << 20;
/// Longest run, in bytes, uncompressed: chunks that build upon each other and are decoded as one
/// unit, so memory of one worker.
pub const MAX_RUN_LEN: u32 = 4 << 20;
/// The unit to which chunks are aligned: every chunk of an image but the last is a multiple of it,
/// so that no write to a device has to read first.
pub const BLOCK_LEN: u32 = 4096;
/// Longest prefix of one delta chunk, in bytes, all its base ranges together: memory of one worker.
pub const MAX_PREFIX_LEN: u64 = 16 << 20;
/// Most hardware names that a release fits: bounds the comparison, and the plan that prints them.
pub const MAX_COMPATIBLE: usize = 64;
/// Longest name of a hardware, a build fact or an extension, in bytes: they are printed in one
/// line.
pub const MAX_NAME_LEN: usize = 64;
/// Most build facts; they are shown to people.
pub const MAX_BUILD_FACTS: usize = 256;
/// Longest value of a build fact, in bytes.
pub const MAX_BUILD_VALUE_LEN: usize = 4096;
/// Longest release notes, in bytes: they are shown on a console.
pub const MAX_NOTES_LEN: usize = 64 << 10;
/// Most extensions; there are none yet.
pub const MAX_EXTENSIONS: usize = 64;
/// Length of one block hint, in bytes.
pub const HINT_LEN: u64 = 5;
