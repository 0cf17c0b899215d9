//! Keys as files: PKCS#8 v1 and SubjectPublicKeyInfo in PEM (RFC 8410), which openssl reads and
//! writes.

use crate::trust::pem;
use cli::input::decode_text;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    self, DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey,
};
use ed25519_dalek::{Signer, SigningKey};
use seal::{KeyError, KeyId, Seal, SealError, parse_public_key};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Longest key file that is read, in bytes; a PEM file of an Ed25519 key has about 120.
const MAX_KEY_FILE_LEN: u64 = 64 << 10;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum KeyFileError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: longer than {MAX_KEY_FILE_LEN} bytes, not a key", path.display())]
    TooLong { path: PathBuf },
    #[error("{origin}: not an Ed25519 private key in PKCS#8 PEM: {error}")]
    Private { origin: String, error: pkcs8::Error },
    #[error("{origin}: not an Ed25519 public key in SPKI PEM: {error}")]
    Public {
        origin: String,
        error: pkcs8::spki::Error,
    },
    #[error("{origin}: {error}")]
    Key { origin: String, error: KeyError },
    #[error("{origin}: {found}")]
    Foreign { origin: String, found: &'static str },
    #[error("no randomness: {0}")]
    Random(io::Error),
}

/// A private key that signs releases.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

impl SecretKey {
    /// A key from the kernel's random numbers.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = [0; 32];
        let got = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| KeyFileError::Random(error.into()))?;
        if got != seed.len() {
            return Err(KeyFileError::Random(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key of a 32-byte seed: for tests and for examples that must not change. *Pure.*
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key in a PEM file. *Reads.*
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let pem = read_text(path)?;
        let origin = path.display().to_string();
        if let Some(found) = pem::foreign_kind(&pem) {
            return Err(KeyFileError::Foreign { origin, found });
        }
        SigningKey::from_pkcs8_pem(&pem::tidy(&pem))
            .map(Self)
            .map_err(|error| KeyFileError::Private { origin, error })
    }

    /// PKCS#8 version 1, without the public key, which OpenSSL 3.0 does not read in version 2.
    ///
    /// # Errors
    /// [`KeyFileError::Private`], which does not happen.
    pub fn to_pem(&self) -> Result<String, KeyFileError> {
        let bytes = pkcs8::KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map(|pem| pem.as_str().to_owned());
        pem.map_err(|error| KeyFileError::Private {
            origin: "new key".to_owned(),
            error,
        })
    }

    /// The public key as SPKI PEM.
    ///
    /// # Errors
    /// [`KeyFileError::Public`], which does not happen.
    pub fn public_pem(&self) -> Result<String, KeyFileError> {
        let pem = self.0.verifying_key().to_public_key_pem(LineEnding::LF);
        pem.map_err(|error| KeyFileError::Public {
            origin: "new key".to_owned(),
            error,
        })
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The id of the public key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public_key())
    }

    /// The signature over `message`, which must begin with its own domain.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Adds this key's signature to a seal.
    ///
    /// # Errors
    /// [`SealError`] if the seal is full or the key has signed already.
    pub fn sign_seal(&self, seal: &mut Seal) -> Result<(), SealError> {
        let signature = self.sign(&seal.to_be_signed());
        seal.add_signature(self.id(), &signature)
    }
}

/// The public key in PEM text; `origin` names it in errors. *Pure.* Weak keys are refused.
///
/// # Errors
/// [`KeyFileError`].
pub fn parse_public_pem(pem: &str, origin: &str) -> Result<[u8; 32], KeyFileError> {
    let named = || origin.to_owned();
    if let Some(found) = pem::foreign_kind(pem) {
        let origin = named();
        return Err(KeyFileError::Foreign { origin, found });
    }
    let bytes = pkcs8::PublicKeyBytes::from_public_key_pem(&pem::tidy(pem)).map_err(|error| {
        KeyFileError::Public {
            origin: named(),
            error,
        }
    })?;
    let key = bytes.to_bytes();
    parse_public_key(&key).map_err(|error| KeyFileError::Key {
        origin: named(),
        error,
    })?;
    Ok(key)
}

/// The public key in a PEM file. *Reads.*
///
/// # Errors
/// [`KeyFileError`].
pub fn load_public(path: &Path) -> Result<[u8; 32], KeyFileError> {
    parse_public_pem(&read_text(path)?, &path.display().to_string())
}

/// A small text file; bounded, since the path may name anything.
pub(crate) fn read_text(path: &Path) -> Result<String, KeyFileError> {
    use io::Read as _;
    let io = |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io)?;
    file.take(MAX_KEY_FILE_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_KEY_FILE_LEN {
        return Err(KeyFileError::TooLong {
            path: path.to_owned(),
        });
    }
    decode_text(&bytes).map_err(|error| io(io::Error::new(io::ErrorKind::InvalidData, error)))
}
