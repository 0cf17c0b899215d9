//! Trust files: a public key in PEM, or a TOML file with keys, roles, thresholds and the key epoch.
//!
//! ```toml
//! epoch = 2                  # key epoch: generation of this file; a newer file has a higher one
//! revoked = ["0123456789abcdef0123456789abcdef"]  # ids of keys that are never trusted again
//!
//! [threshold]                # how many distinct keys of a role must sign
//! release = 2
//! vendor = 0                 # 0: not required
//! recovery = 0               # 0: the release role also signs recovery images
//!
//! [[key]]
//! name = "build server"      # for people
//! roles = ["release"]
//! path = "build.pub"         # relative to this file; or the PEM itself as public_key
//! ```

use crate::hex;
use crate::trust::keys::{KeyFileError, load_public, parse_public_pem, read_text};
use seal::{KeyId, Role, Trust, TrustError, TrustedKey};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Reasons to refuse a trust file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TrustFileError {
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error("{}: {error}", path.display())]
    Toml {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("{}: {error}", path.display())]
    Trust { path: PathBuf, error: TrustError },
    #[error("{}: key {name:?}: expected either path or public_key", path.display())]
    KeySource { path: PathBuf, name: String },
    #[error("{}: revoked: {text:?}, expected a key id of 32 hexadecimal digits", path.display())]
    KeyId { path: PathBuf, text: String },
    #[error(
        "{}: key {name:?} is in another file: a signed trust file must contain its keys",
        path.display()
    )]
    NotSelfContained { path: PathBuf, name: String },
}

/// A trust file with its revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// The trust, without the revoked keys.
    pub trust: Trust,
    /// Ids of keys that are never trusted again.
    pub revoked: Vec<KeyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustDocument {
    epoch: u64,
    #[serde(default)]
    revoked: Vec<String>,
    threshold: Thresholds,
    #[serde(default)]
    key: Vec<KeyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thresholds {
    release: u8,
    #[serde(default)]
    vendor: u8,
    #[serde(default)]
    recovery: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: String,
    roles: Vec<RoleName>,
    path: Option<PathBuf>,
    public_key: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Release,
    Vendor,
    Recovery,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Release => Self::Release,
            RoleName::Vendor => Self::Vendor,
            RoleName::Recovery => Self::Recovery,
        }
    }
}

/// Loads trust from a file. *Reads* it and the keys that it names. A public key alone is trusted
/// for releases, with threshold 1 and key epoch 0.
///
/// # Errors
/// [`TrustFileError`].
pub fn load(path: &Path) -> Result<Trust, TrustFileError> {
    load_file(path).map(|file| file.trust)
}

/// As [`load`], with the revocations.
///
/// # Errors
/// [`TrustFileError`].
pub fn load_file(path: &Path) -> Result<TrustFile, TrustFileError> {
    parse(&read_text(path)?, path, Keys::Anywhere)
}

/// Where a trust file may have its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In the file or in files that it names.
    Anywhere,
    /// In the file itself, so that a signature over it covers them.
    Inside,
}

/// Parses a trust file. *Reads* the keys that it names by path. `path` is the file name for errors;
/// paths in the file are relative to it.
///
/// # Errors
/// [`TrustFileError`].
pub fn parse(text: &str, path: &Path, keys: Keys) -> Result<TrustFile, TrustFileError> {
    let trust_error = |error| TrustFileError::Trust {
        path: path.to_owned(),
        error,
    };
    let is_toml = text.contains("public_key") || text.contains('[');
    if !is_toml && (text.contains("-----BEGIN") || text.trim_start().starts_with("ssh-")) {
        let key = parse_public_pem(text, &path.display().to_string())?;
        let key = TrustedKey::new(&key, &[Role::Release])
            .map_err(|error| trust_error(TrustError::Key(error)))?;
        let trust = Trust::new(0, [1, 0, 0], &[key]).map_err(trust_error)?;
        return Ok(TrustFile {
            trust,
            revoked: Vec::new(),
        });
    }
    let document: TrustDocument = toml::from_str(text).map_err(|error| TrustFileError::Toml {
        path: path.to_owned(),
        error: Box::new(error),
    })?;
    let revoked = document
        .revoked
        .iter()
        .map(|text| {
            parse_key_id(text).ok_or_else(|| TrustFileError::KeyId {
                path: path.to_owned(),
                text: text.clone(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut trusted = Vec::new();
    for table in &document.key {
        let bytes = table.load(path, keys)?;
        let roles: Vec<Role> = table.roles.iter().map(|role| Role::from(*role)).collect();
        let key =
            TrustedKey::new(&bytes, &roles).map_err(|error| trust_error(TrustError::Key(error)))?;
        if !revoked.contains(&key.id()) {
            trusted.push(key);
        }
    }
    let Thresholds {
        release,
        vendor,
        recovery,
    } = document.threshold;
    let trust =
        Trust::new(document.epoch, [release, vendor, recovery], &trusted).map_err(trust_error)?;
    Ok(TrustFile { trust, revoked })
}

impl KeyTable {
    fn load(&self, file: &Path, keys: Keys) -> Result<[u8; 32], TrustFileError> {
        let (path, name) = (file.to_owned(), self.name.clone());
        match (&self.path, &self.public_key) {
            (None, Some(pem)) => Ok(parse_public_pem(
                pem,
                &format!("{}: key {name:?}", file.display()),
            )?),
            (Some(_), None) if keys == Keys::Inside => {
                Err(TrustFileError::NotSelfContained { path, name })
            }
            (Some(key), None) => Ok(load_public(
                &file.parent().unwrap_or(Path::new("")).join(key),
            )?),
            _ => Err(TrustFileError::KeySource { path, name }),
        }
    }
}

/// Parses a key id of 32 hexadecimal digits. *Pure.*
#[must_use]
pub fn parse_key_id(text: &str) -> Option<KeyId> {
    hex::decode(text).map(KeyId)
}
