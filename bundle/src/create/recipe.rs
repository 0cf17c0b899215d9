//! `bundle.toml`: the description of a release to create.
//!
//! An example with every key, which is tested:
//! ```toml
#![doc = include_str!("../../../docs/bundle.example.toml")]
//! ```

use crate::create::chunker::RUN_LEN;
use crate::format::cbor::{Blob, Key};
use crate::format::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_NAME_LEN};
use crate::format::manifest::{ImageRole, IndexInfo, Manifest, Sbom, UpdaterVersion};
use seal::{Link, Text64};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::{fs, io};
use toml::Spanned;

/// Default level of zstd. Figures: docs/decisions/0102-runs.md.
pub const DEFAULT_LEVEL: i32 = 9;
/// Default chunk size in bytes; larger for images of many GiB. Figures:
/// docs/decisions/0102-runs.md.
pub const DEFAULT_CHUNK_SIZE: u32 = 16 << 10;
/// Default maximum number of bytes before a chunk that it refers to. Figures:
/// docs/decisions/0102-runs.md.
pub const DEFAULT_WINDOW: u32 = 64 << 10;
/// Maximum level of zstd: higher ones need too much memory.
pub const MAX_LEVEL: i32 = 19;

/// Description of a release to create.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The manifest, without index, images and lengths.
    pub manifest: Manifest,
    /// Trust links that lead from older keys to those that sign the release.
    pub links: Vec<Link>,
    /// Key epoch of the trust that the release is signed under.
    pub key_epoch: u64,
    /// True if committing the release makes every older one unbootable.
    pub revoke: bool,
    /// True if the release feeds a hardware watchdog.
    pub watchdog: bool,
    /// True if each block of the root image is verified while it is read.
    pub verity: bool,
    /// Level of zstd.
    pub level: i32,
    /// The images.
    pub images: Vec<ImageInput>,
    /// Other files that the recipe names: notes and SBOM.
    pub other_files: Vec<PathBuf>,
}

/// An image for a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInput {
    /// Purpose of the image.
    pub role: ImageRole,
    /// Path of the image file.
    pub path: PathBuf,
    /// Maximum length of a chunk in bytes; `None` means [`DEFAULT_CHUNK_SIZE`], or more for images
    /// of many GiB.
    pub chunk_size: Option<u32>,
    /// Maximum number of bytes before a chunk that it refers to; 0: none.
    pub window: u32,
}

/// Reasons to refuse a recipe.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum RecipeError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {}", path.display(), error.to_string().trim_end())]
    Toml {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("{}:{line}: {key}: {fault}", path.display())]
    Value {
        path: PathBuf,
        line: usize,
        key: &'static str,
        fault: String,
    },
    #[error("SOURCE_DATE_EPOCH is {0:?}, expected seconds since 1970")]
    Epoch(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeDocument {
    release: ReleaseTable,
    #[serde(default)]
    build: BTreeMap<String, Spanned<String>>,
    sbom: Option<SbomTable>,
    #[serde(default)]
    compression: CompressionTable,
    #[serde(default)]
    image: Vec<ImageTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseTable {
    version: Spanned<String>,
    rollback_index: u64,
    compatible: Spanned<Vec<Spanned<String>>>,
    trust_links: Option<Spanned<PathBuf>>,
    #[serde(default)]
    key_epoch: u64,
    #[serde(default)]
    revoke: bool,
    #[serde(default)]
    watchdog: bool,
    #[serde(default = "yes")]
    verity: bool,
    min_updater: Option<Spanned<String>>,
    notes: Option<String>,
    notes_file: Option<Spanned<PathBuf>>,
    created: Option<u64>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SbomTable {
    path: PathBuf,
    media_type: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompressionTable {
    level: Option<Spanned<i32>>,
    chunk_size: Option<Spanned<u32>>,
    window: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    role: Spanned<ImageRole>,
    path: PathBuf,
    chunk_size: Option<Spanned<u32>>,
    window: Option<Spanned<u32>>,
}

impl Recipe {
    /// Loads a recipe. *Reads* the file, and the notes and the SBOM that it names. `epoch` is
    /// `SOURCE_DATE_EPOCH` of the environment.
    ///
    /// # Errors
    /// [`RecipeError`], with file, line and key.
    pub fn load(path: &Path, epoch: Option<&str>) -> Result<Self, RecipeError> {
        let text = cli::input::read_text(path).map_err(|error| RecipeError::Io {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text, path, epoch)
    }

    /// Parses a recipe. *Reads* the notes and the SBOM that it names. `path` is the file name for
    /// errors; relative paths in the recipe are relative to it.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str, path: &Path, epoch: Option<&str>) -> Result<Self, RecipeError> {
        let document: RecipeDocument = toml::from_str(text).map_err(|error| RecipeError::Toml {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        let file = RecipeFile { text, path };
        let epoch = match epoch {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| RecipeError::Epoch(text.to_owned()))?,
            ),
        };
        let level = file.level(&document.compression)?;
        let images = file.images(&document)?;
        let notes = document.release.notes_file.as_ref().map(Spanned::get_ref);
        let sbom = document.sbom.as_ref().map(|sbom| &sbom.path);
        let links_file = document.release.trust_links.as_ref();
        let links = links_file.map_or(Ok(Vec::new()), |path| file.links(path))?;
        let links_file = links_file.map(Spanned::get_ref);
        let other_files = notes.into_iter().chain(sbom).chain(links_file);
        let other_files = other_files.map(|path| file.resolve(path)).collect();
        let ReleaseTable {
            key_epoch,
            revoke,
            watchdog,
            verity,
            ..
        } = document.release;
        let manifest = file.manifest(document.release, document.build, document.sbom, epoch)?;
        Ok(Self {
            manifest,
            links,
            key_epoch,
            revoke,
            watchdog,
            verity,
            level,
            images,
            other_files,
        })
    }

    /// Returns the paths of all files that the release is created from. *Pure.*
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let images = self.images.iter().map(|image| image.path.as_path());
        images.chain(self.other_files.iter().map(PathBuf::as_path))
    }
}

struct RecipeFile<'a> {
    text: &'a str,
    path: &'a Path,
}

impl RecipeFile<'_> {
    fn refuse<T>(
        &self,
        span: Range<usize>,
        key: &'static str,
        fault: impl Into<String>,
    ) -> Result<T, RecipeError> {
        let line = self
            .text
            .get(..span.start)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1;
        Err(RecipeError::Value {
            path: self.path.to_owned(),
            line,
            key,
            fault: fault.into(),
        })
    }

    /// Resolves a path in the recipe.
    fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, RecipeError> {
        let path = self.resolve(path);
        fs::read(&path).map_err(|error| RecipeError::Io { path, error })
    }

    /// Reads the trust links of the bundle.
    fn links(&self, path: &Spanned<PathBuf>) -> Result<Vec<Link>, RecipeError> {
        let bytes = self.read(path.get_ref())?;
        match seal::parse_links(&bytes) {
            Ok(links) => Ok(links),
            Err(error) => self.refuse(path.span(), "trust_links", error.to_string()),
        }
    }

    fn name(&self, key: &'static str, text: &Spanned<String>) -> Result<String, RecipeError> {
        match Text64::new(text.get_ref()) {
            Some(name) if name != Text64::EMPTY => Ok(text.get_ref().clone()),
            _ => {
                let fault = format!(
                    "{:?}, expected 1 to {MAX_NAME_LEN} printable characters without spaces",
                    text.get_ref()
                );
                self.refuse(text.span(), key, fault)
            }
        }
    }

    fn level(&self, table: &CompressionTable) -> Result<i32, RecipeError> {
        match &table.level {
            None => Ok(DEFAULT_LEVEL),
            Some(level) if (1..=MAX_LEVEL).contains(level.get_ref()) => Ok(*level.get_ref()),
            Some(level) => self.refuse(
                level.span(),
                "level",
                format!("{}, expected 1 to {MAX_LEVEL}", level.get_ref()),
            ),
        }
    }

    /// Checks a number of bytes: whole blocks, within limits.
    fn block_multiple(
        &self,
        key: &'static str,
        value: &Spanned<u32>,
        limits: RangeInclusive<u32>,
    ) -> Result<u32, RecipeError> {
        let found = *value.get_ref();
        if limits.contains(&found) && found.is_multiple_of(BLOCK_LEN) {
            return Ok(found);
        }
        let (minimum, maximum) = (limits.start(), limits.end());
        self.refuse(
            value.span(),
            key,
            format!("{found}, expected a multiple of 4096 from {minimum} to {maximum}"),
        )
    }

    fn images(&self, document: &RecipeDocument) -> Result<Vec<ImageInput>, RecipeError> {
        let mut images: Vec<ImageInput> = Vec::new();
        for table in &document.image {
            let role = *table.role.get_ref();
            if images.iter().any(|image| image.role == role) {
                return self.refuse(table.role.span(), "role", format!("duplicate image {role}"));
            }
            let defaults = &document.compression;
            let chunk_size = table.chunk_size.as_ref().or(defaults.chunk_size.as_ref());
            let chunk_size = chunk_size
                .map(|size| self.block_multiple("chunk_size", size, BLOCK_LEN..=MAX_CHUNK_LEN));
            let window = table.window.as_ref().or(defaults.window.as_ref());
            let window = window.map(|window| self.block_multiple("window", window, 0..=RUN_LEN));
            images.push(ImageInput {
                role,
                path: self.resolve(&table.path),
                chunk_size: chunk_size.transpose()?,
                window: window.transpose()?.unwrap_or(DEFAULT_WINDOW),
            });
        }
        if images.is_empty() {
            self.refuse(0..0, "image", "at least one [[image]] is required")
        } else {
            Ok(images)
        }
    }

    fn manifest(
        &self,
        release: ReleaseTable,
        build: BTreeMap<String, Spanned<String>>,
        sbom: Option<SbomTable>,
        epoch: Option<u64>,
    ) -> Result<Manifest, RecipeError> {
        if release.compatible.get_ref().is_empty() {
            return self.refuse(
                release.compatible.span(),
                "compatible",
                "at least one name is required",
            );
        }
        let compatible = release
            .compatible
            .get_ref()
            .iter()
            .map(|name| self.name("compatible", name));
        let notes = match (release.notes, release.notes_file) {
            (Some(_), Some(file)) => {
                return self.refuse(
                    file.span(),
                    "notes_file",
                    "cannot be used together with notes",
                );
            }
            (Some(notes), None) => notes,
            (None, None) => String::new(),
            (None, Some(file)) => match String::from_utf8(self.read(file.get_ref())?) {
                Ok(notes) => notes,
                Err(_) => return self.refuse(file.span(), "notes_file", "not UTF-8"),
            },
        };
        let min_updater = match release.min_updater {
            None => None,
            Some(text) => match text.get_ref().parse::<UpdaterVersion>() {
                Ok(version) => Some(version),
                Err(fault) => return self.refuse(text.span(), "min_updater", fault),
            },
        };
        let sbom = match sbom {
            None => None,
            Some(table) => Some(Sbom {
                sha256: Blob(Sha256::digest(self.read(&table.path)?).into()),
                media_type: self.name("media_type", &table.media_type)?,
            }),
        };
        Ok(Manifest {
            ext: BTreeMap::new(),
            base: None,
            sbom,
            build: build
                .into_iter()
                .map(|(key, value)| (Key(key), value.into_inner()))
                .collect(),
            hints: None,
            index: IndexInfo {
                chunks: 0,
                ranges: 0,
                sha256: Blob([0; 32]),
            },
            notes,
            images: Vec::new(),
            created: release.created.or(epoch),
            payload: 0,
            version: self.name("version", &release.version)?,
            compatible: compatible.collect::<Result<_, _>>()?,
            min_updater,
            rollback_index: release.rollback_index,
        })
    }
}
