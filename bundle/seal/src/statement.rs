//! The statement: the signed bytes of a release.

use crate::field::{Text64, get, put};

/// Length of a statement in bytes.
pub const STATEMENT_LEN: usize = 512;
/// The first 32 bytes of a statement: magic number of the file, and domain separation string. A
/// signature of a release is not one of anything else.
pub const DOMAIN: [u8; 32] = *b"RayOS Update release statement\0\0";
/// Major version that this program reads and writes.
pub(crate) const MAJOR: u16 = 1;

/// A reader must know the flags in the low half of the word; it ignores unknown ones in the high
/// half.
const FLAG_REVOKE: u32 = 1;
const FLAG_WATCHDOG: u32 = 2;
const KNOWN_CRITICAL: u32 = FLAG_REVOKE | FLAG_WATCHDOG;
const CRITICAL: u32 = 0xffff;
const ROOT_AT: usize = 248;
const LINKS_AT: usize = 288;
const RESERVED_AT: usize = 328;

/// Bytes of a block that is verified by itself: a data block and a hash block of dm-verity.
pub const VERITY_BLOCK: u64 = 4096;

/// Length and SHA-256 of an image as in a partition; a length of 0 means that there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageDigest {
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 of exactly these bytes.
    pub sha256: [u8; 32],
}

impl ImageDigest {
    /// No image of this role.
    pub const NONE: Self = Self {
        len: 0,
        sha256: [0; 32],
    };
}

/// Length and root hash of a root image whose blocks are verified while they are read.
///
/// The hash tree is dm-verity's, format 1, with SHA-256, blocks of 4096 bytes and no salt. In the
/// root partition it begins at the first multiple of 4096 at or behind the end of the image, with
/// dm-verity's superblock; the bytes between are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedRoot {
    /// Bytes of the image, at least 1.
    pub len: u64,
    /// Root hash of the tree, never all zero.
    pub root_hash: [u8; 32],
}

impl VerifiedRoot {
    /// Bytes of its encoding: length, then root hash.
    pub const ENCODED_LEN: usize = 40;

    /// Returns the data blocks of the image, the last one filled up with zeroes. *Pure.* The
    /// superblock is in the block of this number, the tree behind it.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.len.div_ceil(VERITY_BLOCK)
    }

    /// Writes an optional root into 40 bytes at `at`; all zero for none. *Pure.*
    pub fn put(root: Option<&Self>, bytes: &mut [u8], at: usize) {
        if let Some(root) = root {
            put(bytes, at, &root.len.to_le_bytes());
            put(bytes, at.saturating_add(8), &root.root_hash);
        }
    }

    /// Reads what [`VerifiedRoot::put`] wrote. *Pure.*
    ///
    /// # Errors
    /// [`StatementError::Image`] for a length without a hash, or a hash without a length.
    pub fn get(bytes: &[u8], at: usize) -> Result<Option<Self>, StatementError> {
        let ImageDigest { len, sha256 } = image(bytes, at)?;
        let root_hash = sha256;
        Ok((len > 0).then_some(Self { len, root_hash }))
    }
}

/// The signed bytes: 512, little-endian.
///
/// ```text
/// offset  bytes  content
///      0     32  domain, "RayOS Update release statement" and zeroes
///     32      2  major version, 1        34  2  minor version, readers accept any
///     36      4  flags: bit 0 revoke, bit 1 watchdog; unknown bits 0 to 15 are refused,
///                16 to 31 ignored
///     40      8  rollback index          48  8  key epoch
///     56      8  manifest length         64 32  SHA-256 of the manifest
///     96      8  boot image length      104 32  SHA-256 of the boot image (without this seal)
///    136      8  recovery image length  144 32  SHA-256 of the recovery image (without this seal)
///    176     64  version, printable ASCII, zero-padded
///    240      8  length of the whole bundle, seal included
///    248      8  length of the verified root image, 0 for none
///    256     32  root hash of its hash tree
///    288      8  length of the trust links  296 32  SHA-256 of the trust links
///    328    184  zero in minor version 0; ignored (but signed) in later minor versions
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Name of the release, for people.
    pub version: Text64,
    /// Rollback index, for decisions. A machine refuses one below its floor.
    pub rollback_index: u64,
    /// Key epoch of the trust file under which the release was signed.
    pub key_epoch: u64,
    /// True if committing this release makes every older one unbootable.
    pub revoke: bool,
    /// True if the release feeds a hardware watchdog, so that the guard may start one before the
    /// release. For a release that does not feed it, it would reset a healthy machine.
    pub watchdog: bool,
    /// Length and hash of the manifest that follows the seal in a bundle.
    pub manifest: ImageDigest,
    /// The EFI program of the boot partition.
    pub boot: ImageDigest,
    /// The EFI program of the recovery partition.
    pub recovery: ImageDigest,
    /// The root image, if its blocks are verified while they are read.
    pub root: Option<VerifiedRoot>,
    /// The trust links in the bundle. They lead to keys that signed it, so they are read before its
    /// signatures are verified.
    pub links: ImageDigest,
    /// Length of the whole bundle in bytes.
    pub bundle_len: u64,
}

/// Reasons why a statement is malformed. Its signatures may be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementError {
    /// The domain separation string is another one.
    Domain,
    /// An unknown major version.
    UnknownMajor(u16),
    /// Unknown flags that a reader must know.
    UnknownFlags(u32),
    /// The version is empty, too long or not printable ASCII.
    Version,
    /// Bytes after the fields are not zero although the minor version is 0.
    NotZero,
    /// An image has a length but no digest, or a digest but no length.
    Image,
}

impl core::fmt::Display for StatementError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Domain => f.write_str("signed statement is not of a release"),
            Self::UnknownMajor(found) => {
                write!(f, "unknown statement version {found}, expected 1")
            }
            Self::UnknownFlags(found) => {
                write!(f, "statement has unknown flags {found:#x}")
            }
            Self::Version => f.write_str("statement: version is not 1 to 64 printable characters"),
            Self::NotZero => f.write_str("statement: reserved bytes are not zero"),
            Self::Image => f.write_str("statement: an image has only one of length and digest"),
        }
    }
}
impl core::error::Error for StatementError {}

impl Statement {
    /// Encodes the statement. *Pure.* A statement has exactly one encoding.
    #[must_use]
    pub fn encode(&self) -> [u8; STATEMENT_LEN] {
        let mut bytes = [0; STATEMENT_LEN];
        put(&mut bytes, 0, &DOMAIN);
        put(&mut bytes, 32, &MAJOR.to_le_bytes());
        let flags = (if self.revoke { FLAG_REVOKE } else { 0 })
            | (if self.watchdog { FLAG_WATCHDOG } else { 0 });
        put(&mut bytes, 36, &flags.to_le_bytes());
        put(&mut bytes, 40, &self.rollback_index.to_le_bytes());
        put(&mut bytes, 48, &self.key_epoch.to_le_bytes());
        put_image(&mut bytes, 56, &self.manifest);
        put_image(&mut bytes, 96, &self.boot);
        put_image(&mut bytes, 136, &self.recovery);
        put(&mut bytes, 176, &self.version.encode());
        put(&mut bytes, 240, &self.bundle_len.to_le_bytes());
        VerifiedRoot::put(self.root.as_ref(), &mut bytes, ROOT_AT);
        put_image(&mut bytes, LINKS_AT, &self.links);
        bytes
    }

    /// Decodes a statement whose signatures have been verified. *Pure.*
    ///
    /// # Errors
    /// [`StatementError`] for each value that `encode` does not produce, except those of later
    /// minor versions.
    pub fn decode(bytes: &[u8; STATEMENT_LEN]) -> Result<Self, StatementError> {
        if get::<32>(bytes, 0) != DOMAIN {
            return Err(StatementError::Domain);
        }
        let major = u16::from_le_bytes(get(bytes, 32));
        if major != MAJOR {
            return Err(StatementError::UnknownMajor(major));
        }
        let minor = u16::from_le_bytes(get(bytes, 34));
        let flags = u32::from_le_bytes(get(bytes, 36));
        let unknown = flags & CRITICAL & !KNOWN_CRITICAL;
        if unknown != 0 {
            return Err(StatementError::UnknownFlags(unknown));
        }
        if minor == 0
            && (bytes.iter().skip(RESERVED_AT).any(|byte| *byte != 0) || flags & !CRITICAL != 0)
        {
            return Err(StatementError::NotZero);
        }
        let version = Text64::decode(get(bytes, 176)).ok_or(StatementError::Version)?;
        if version == Text64::EMPTY {
            return Err(StatementError::Version);
        }
        Ok(Self {
            version,
            rollback_index: u64::from_le_bytes(get(bytes, 40)),
            key_epoch: u64::from_le_bytes(get(bytes, 48)),
            revoke: flags & FLAG_REVOKE != 0,
            watchdog: flags & FLAG_WATCHDOG != 0,
            manifest: image(bytes, 56)?,
            boot: image(bytes, 96)?,
            recovery: image(bytes, 136)?,
            root: VerifiedRoot::get(bytes, ROOT_AT)?,
            links: image(bytes, LINKS_AT)?,
            bundle_len: u64::from_le_bytes(get(bytes, 240)),
        })
    }
}

fn put_image(bytes: &mut [u8], at: usize, image: &ImageDigest) {
    put(bytes, at, &image.len.to_le_bytes());
    put(bytes, at.saturating_add(8), &image.sha256);
}

fn image(bytes: &[u8], at: usize) -> Result<ImageDigest, StatementError> {
    let image = ImageDigest {
        len: u64::from_le_bytes(get(bytes, at)),
        sha256: get(bytes, at.saturating_add(8)),
    };
    if (image.len == 0) != (image.sha256 == [0; 32]) {
        return Err(StatementError::Image);
    }
    Ok(image)
}
