//! The manifest: the signed description of a release.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::format::cbor::{self, Blob, CborError, Digest, Key};
use crate::format::limits::{
    BLOCK_LEN, MAX_BASE_RANGES, MAX_BUILD_FACTS, MAX_BUILD_VALUE_LEN, MAX_CHUNK_LEN, MAX_CHUNKS,
    MAX_COMPATIBLE, MAX_EXTENSIONS, MAX_NOTES_LEN,
};
use seal::Text64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Purpose of an image. The images of a bundle are in this order, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageRole {
    /// The EFI program of a slot (a UKI), for the boot partition.
    Boot,
    /// The root file system of a slot.
    Root,
    /// The EFI program of the recovery partition.
    Recovery,
    /// The boot guard.
    Guard,
}

impl ImageRole {
    /// All roles, in their order.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Root, Self::Recovery, Self::Guard];

    /// Returns the number of the role in binary tables, from 1. *Pure.*
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Boot => 1,
            Self::Root => 2,
            Self::Recovery => 3,
            Self::Guard => 4,
        }
    }

    /// Returns the role with this number. *Pure.*
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// Returns the word for the role. *Pure.*
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Root => "root",
            Self::Recovery => "recovery",
            Self::Guard => "guard",
        }
    }
}

impl fmt::Display for ImageRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for ImageRole {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| format!("image role {word:?}, expected boot, root, recovery or guard"))
    }
}

/// A version of the updater, `MAJOR.MINOR.PATCH`; compared number by number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct UpdaterVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Patch number.
    pub patch: u32,
}

impl fmt::Display for UpdaterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
impl From<UpdaterVersion> for String {
    fn from(version: UpdaterVersion) -> Self {
        version.to_string()
    }
}
impl std::str::FromStr for UpdaterVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("updater version {text:?}, expected MAJOR.MINOR.PATCH");
        let mut numbers = text.split('.').map(|number| number.parse::<u32>());
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(refused);
        let version = Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        };
        // Refuses other spellings of the same version: a sign, leading zeroes, a fourth number.
        if version.to_string() == text {
            Ok(version)
        } else {
            Err(refused())
        }
    }
}
impl TryFrom<String> for UpdaterVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The signed description of a release. The fields are in the order of their encoding: by length of
/// the key, then by letter. Empty or absent fields are not encoded; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Extensions of later formats. A reader must understand an extension whose name begins with
    /// `!`; none is defined yet, so all of these are refused. Others are kept and ignored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ext: BTreeMap<Key, Blob<Vec<u8>>>,
    /// The release that the delta chunks are based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The software bill of materials of the release; the document is not part of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Sbom>,
    /// Facts about the build, for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build: BTreeMap<Key, String>,
    /// SHA-256 of the block hints at the end of the bundle; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hints: Option<Digest>,
    /// The chunk index that follows the manifest.
    pub index: IndexInfo,
    /// Release notes, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The images, in the order of their roles, each role at most once.
    pub images: Vec<ImageInfo>,
    /// Time at which the release was made, in seconds since 1970, if the builder gave one
    /// (`SOURCE_DATE_EPOCH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// Length of the payload in bytes.
    pub payload: u64,
    /// Name of the release, for people; the same as in the statement.
    pub version: String,
    /// Names of the hardware that the release fits, at least one; a machine needs one of them.
    pub compatible: Vec<String>,
    /// The oldest updater that may apply the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_updater: Option<UpdaterVersion>,
    /// Rollback index, for decisions; the same as in the statement.
    pub rollback_index: u64,
}

/// Size and digest of the chunk index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexInfo {
    /// Number of chunks.
    #[serde(rename = "frames")]
    pub chunks: u64,
    /// Number of base ranges.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ranges: u64,
    /// SHA-256 of the index.
    pub sha256: Digest,
}

/// An image as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInfo {
    /// Purpose of the image.
    pub role: ImageRole,
    /// Size in bytes.
    pub size: u64,
    /// Number of its chunks in the index.
    #[serde(rename = "frames")]
    pub chunks: u64,
    /// SHA-256 of the whole image.
    pub sha256: Digest,
    /// Maximum length of a chunk with content, in bytes: a multiple of 4096, up to 4 MiB.
    #[serde(rename = "frame_size")]
    pub chunk_size: u32,
}

/// The release that a delta is based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Its images.
    pub images: Vec<BaseImage>,
    /// Its version.
    pub version: String,
}

/// An image of the release that a delta is based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// Purpose of the image.
    pub role: ImageRole,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the whole image.
    pub sha256: Digest,
}

/// Identifies the software bill of materials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbom {
    /// SHA-256 of the document.
    pub sha256: Digest,
    /// Its media type, such as `application/spdx+json`.
    pub media_type: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Reasons to refuse a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum ManifestError {
    #[error("manifest: {0}")]
    Cbor(CborError),
    #[error("manifest: no image")]
    NoImage,
    #[error("manifest: no compatible name")]
    NotCompatible,
    #[error("manifest: duplicate image {0}")]
    RepeatedImage(ImageRole),
    #[error("manifest: image {0} after image {1}")]
    ImageOrder(ImageRole, ImageRole),
    #[error("manifest: image {0} is empty")]
    EmptyImage(ImageRole),
    #[error(
        "manifest: image {image}: chunk size {found}, expected a multiple of 4096, maximum {MAX_CHUNK_LEN}"
    )]
    ChunkSize { image: ImageRole, found: u32 },
    #[error("manifest: {name} is {found}, maximum {limit}")]
    TooMany {
        name: &'static str,
        found: u64,
        limit: u64,
    },
    #[error("manifest: images have {images} chunks, the index has {index}")]
    ChunkCount { images: u64, index: u64 },
    #[error("manifest: {name} {found:?}, expected 1 to 64 printable characters without spaces")]
    Name { name: &'static str, found: String },
    #[error("manifest: base ranges without a base release")]
    NoBase,
    #[error("manifest: unknown mandatory extension {0:?}")]
    Extension(String),
    #[error("manifest: lengths do not fit in 64 bits")]
    Overflow,
}

impl Manifest {
    /// Decodes an authenticated manifest and checks every field against its limit. *Pure.*
    ///
    /// # Errors
    /// [`ManifestError`], of the encoding first, then of the fields.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = cbor::decode(bytes).map_err(ManifestError::Cbor)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Encodes the manifest. *Pure.*
    ///
    /// # Errors
    /// [`ManifestError`] if a field is outside its limits.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        cbor::encode(self).map_err(ManifestError::Cbor)
    }

    /// Checks every field against its limit. *Pure.*
    ///
    /// # Errors
    /// The first [`ManifestError`].
    pub fn check(&self) -> Result<(), ManifestError> {
        self.check_texts()?;
        self.check_images()?;
        check_maximum("number of chunks", self.index.chunks, MAX_CHUNKS)?;
        check_maximum("number of base ranges", self.index.ranges, MAX_BASE_RANGES)?;
        match &self.base {
            None if self.index.ranges > 0 => Err(ManifestError::NoBase),
            None => Ok(()),
            Some(base) => {
                check_name("base version", &base.version)?;
                check_order(base.images.iter().map(|image| (image.role, image.size)))
            }
        }
    }

    fn check_texts(&self) -> Result<(), ManifestError> {
        check_name("version", &self.version)?;
        if self.compatible.is_empty() {
            return Err(ManifestError::NotCompatible);
        }
        check_maximum(
            "number of compatible names",
            self.compatible.len() as u64,
            MAX_COMPATIBLE as u64,
        )?;
        self.compatible
            .iter()
            .try_for_each(|text| check_name("compatible name", text))?;
        check_maximum(
            "length of the notes",
            self.notes.len() as u64,
            MAX_NOTES_LEN as u64,
        )?;
        check_maximum(
            "number of build facts",
            self.build.len() as u64,
            MAX_BUILD_FACTS as u64,
        )?;
        for (key, value) in &self.build {
            check_name("build fact", &key.0)?;
            check_maximum(
                "length of a build fact",
                value.len() as u64,
                MAX_BUILD_VALUE_LEN as u64,
            )?;
        }
        if let Some(sbom) = &self.sbom {
            check_name("SBOM media type", &sbom.media_type)?;
        }
        check_maximum(
            "number of extensions",
            self.ext.len() as u64,
            MAX_EXTENSIONS as u64,
        )?;
        for key in self.ext.keys() {
            check_name("extension", &key.0)?;
            if key.0.starts_with('!') {
                return Err(ManifestError::Extension(key.0.clone()));
            }
        }
        Ok(())
    }

    fn check_images(&self) -> Result<(), ManifestError> {
        if self.images.is_empty() {
            return Err(ManifestError::NoImage);
        }
        check_order(self.images.iter().map(|image| (image.role, image.size)))?;
        let mut chunks = 0_u64;
        for image in &self.images {
            let (found, size) = (image.chunk_size, BLOCK_LEN);
            if found < size || found > MAX_CHUNK_LEN || !found.is_multiple_of(size) {
                return Err(ManifestError::ChunkSize {
                    image: image.role,
                    found,
                });
            }
            chunks = chunks
                .checked_add(image.chunks)
                .ok_or(ManifestError::Overflow)?;
        }
        if chunks != self.index.chunks {
            return Err(ManifestError::ChunkCount {
                images: chunks,
                index: self.index.chunks,
            });
        }
        Ok(())
    }
}

fn check_order(images: impl Iterator<Item = (ImageRole, u64)>) -> Result<(), ManifestError> {
    let mut last: Option<ImageRole> = None;
    for (role, size) in images {
        match last {
            Some(before) if before == role => return Err(ManifestError::RepeatedImage(role)),
            Some(before) if before > role => return Err(ManifestError::ImageOrder(role, before)),
            _ if size == 0 => return Err(ManifestError::EmptyImage(role)),
            _ => last = Some(role),
        }
    }
    Ok(())
}

fn check_name(name: &'static str, text: &str) -> Result<(), ManifestError> {
    match Text64::new(text) {
        Some(text) if text != Text64::EMPTY => Ok(()),
        _ => Err(ManifestError::Name {
            name,
            found: text.chars().take(2 * 64).collect(),
        }),
    }
}

fn check_maximum(name: &'static str, found: u64, limit: u64) -> Result<(), ManifestError> {
    if found > limit {
        Err(ManifestError::TooMany { name, found, limit })
    } else {
        Ok(())
    }
}
