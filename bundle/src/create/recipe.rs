//! `bundle.toml`: what a release is made of.
//!
//! Every key, in an example that is tested:
//! ```toml
#![doc = include_str!("../../../docs/bundle.example.toml")]
//! ```

use crate::create::chunker::RUN_LEN;
use crate::format::cbor::{Blob, Key};
use crate::format::limits::{BLOCK_LEN, MAX_CHUNK_LEN, MAX_NAME_LEN};
use crate::format::manifest::{ImageRole, IndexInfo, Manifest, Sbom, UpdaterVersion};
use seal::Text64;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::{fs, io};
use toml::Spanned;

/// zstd level unless the recipe says otherwise; docs/decisions/0102-runs.md has the figures.
pub const DEFAULT_LEVEL: i32 = 9;
/// Chunk size unless the recipe says otherwise or the images are too large for it, in bytes; the
/// same record has the figures.
pub const DEFAULT_CHUNK_SIZE: u32 = 16 << 10;
/// How many bytes before it a chunk builds upon unless the recipe says otherwise; the same record
/// has the figures.
pub const DEFAULT_WINDOW: u32 = 64 << 10;
/// Highest level: those above need more memory than making a bundle may take.
pub const MAX_LEVEL: i32 = 19;

/// What a release is to be made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// All that is known of the manifest beforehand; index, images and lengths are still empty.
    pub manifest: Manifest,
    /// Generation of the trust file that is signed under.
    pub key_epoch: u64,
    /// Whether committing the release makes every older one unbootable.
    pub revoke: bool,
    /// Whether the release feeds a hardware watchdog.
    pub watchdog: bool,
    /// Whether the blocks of the root image are verified while they are read.
    pub verity: bool,
    /// zstd level.
    pub level: i32,
    /// The images.
    pub images: Vec<ImageInput>,
    /// Other files that it names: notes and SBOM.
    pub other_files: Vec<PathBuf>,
}

/// An image to be bundled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInput {
    /// What it is for.
    pub role: ImageRole,
    /// Where it is.
    pub path: PathBuf,
    /// Longest chunk in bytes; if none is asked for, [`DEFAULT_CHUNK_SIZE`], or more for images of
    /// many GiB.
    pub chunk_size: Option<u32>,
    /// How many bytes before it a chunk may build upon; 0: none.
    pub window: u32,
}

/// Why a recipe is refused.
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
struct Document {
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
    /// The recipe in a file. *Reads* it, and the notes and the SBOM that it names; `epoch` is the
    /// environment's `SOURCE_DATE_EPOCH`.
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

    /// The recipe in a text; `path` names it in errors and is where relative paths begin. *Reads*
    /// the notes and the SBOM that it names.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str, path: &Path, epoch: Option<&str>) -> Result<Self, RecipeError> {
        let document: Document = toml::from_str(text).map_err(|error| RecipeError::Toml {
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
        let other_files = notes.into_iter().chain(sbom);
        let other_files = other_files.map(|path| file.beside(path)).collect();
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
            key_epoch,
            revoke,
            watchdog,
            verity,
            level,
            images,
            other_files,
        })
    }

    /// Returns every file that the release is made of. *Pure.*
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
    fn fault<T>(
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

    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, RecipeError> {
        let path = self.beside(path);
        fs::read(&path).map_err(|error| RecipeError::Io { path, error })
    }

    fn name(&self, key: &'static str, text: &Spanned<String>) -> Result<String, RecipeError> {
        match Text64::new(text.get_ref()) {
            Some(name) if name != Text64::EMPTY => Ok(text.get_ref().clone()),
            _ => {
                let fault = format!(
                    "{:?} is not 1 to {MAX_NAME_LEN} printable characters without spaces",
                    text.get_ref()
                );
                self.fault(text.span(), key, fault)
            }
        }
    }

    fn level(&self, table: &CompressionTable) -> Result<i32, RecipeError> {
        match &table.level {
            None => Ok(DEFAULT_LEVEL),
            Some(level) if (1..=MAX_LEVEL).contains(level.get_ref()) => Ok(*level.get_ref()),
            Some(level) => self.fault(
                level.span(),
                "level",
                format!("{}, expected 1 to {MAX_LEVEL}", level.get_ref()),
            ),
        }
    }

    /// A length in whole blocks, within limits.
    fn blocks(
        &self,
        key: &'static str,
        value: &Spanned<u32>,
        limits: RangeInclusive<u32>,
    ) -> Result<u32, RecipeError> {
        let found = *value.get_ref();
        if limits.contains(&found) && found.is_multiple_of(BLOCK_LEN) {
            return Ok(found);
        }
        let (least, most) = (limits.start(), limits.end());
        self.fault(
            value.span(),
            key,
            format!("{found}, expected a multiple of 4096 from {least} to {most}"),
        )
    }

    fn images(&self, document: &Document) -> Result<Vec<ImageInput>, RecipeError> {
        let mut images: Vec<ImageInput> = Vec::new();
        for table in &document.image {
            let role = *table.role.get_ref();
            if images.iter().any(|image| image.role == role) {
                return self.fault(
                    table.role.span(),
                    "role",
                    format!("image {role} appears twice"),
                );
            }
            let of_all = &document.compression;
            let chunk_size = table.chunk_size.as_ref().or(of_all.chunk_size.as_ref());
            let chunk_size =
                chunk_size.map(|size| self.blocks("chunk_size", size, BLOCK_LEN..=MAX_CHUNK_LEN));
            let window = table.window.as_ref().or(of_all.window.as_ref());
            let window = window.map(|window| self.blocks("window", window, 0..=RUN_LEN));
            images.push(ImageInput {
                role,
                path: self.beside(&table.path),
                chunk_size: chunk_size.transpose()?,
                window: window.transpose()?.unwrap_or(DEFAULT_WINDOW),
            });
        }
        if images.is_empty() {
            self.fault(0..0, "image", "at least one [[image]] is needed")
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
            return self.fault(
                release.compatible.span(),
                "compatible",
                "at least one name is needed",
            );
        }
        let compatible = release
            .compatible
            .get_ref()
            .iter()
            .map(|name| self.name("compatible", name));
        let notes = match (release.notes, release.notes_file) {
            (Some(_), Some(file)) => {
                return self.fault(file.span(), "notes_file", "notes are given already");
            }
            (Some(notes), None) => notes,
            (None, None) => String::new(),
            (None, Some(file)) => match String::from_utf8(self.read(file.get_ref())?) {
                Ok(notes) => notes,
                Err(_) => return self.fault(file.span(), "notes_file", "not UTF-8"),
            },
        };
        let min_updater = match release.min_updater {
            None => None,
            Some(text) => match text.get_ref().parse::<UpdaterVersion>() {
                Ok(version) => Some(version),
                Err(fault) => return self.fault(text.span(), "min_updater", fault),
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
