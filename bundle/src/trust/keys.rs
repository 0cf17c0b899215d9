//! Key files: PKCS#8 version 1 and SubjectPublicKeyInfo in PEM (RFC 8410), as openssl reads and
//! writes them. A private key may be encrypted with a passphrase (PBES2). What is secret is cleared
//! from memory after use.

use crate::trust::pem;
use cli::input::decode_text;
use ed25519_dalek::{Signer, SigningKey};
use pkcs8::spki::der::pem::LineEnding;
use pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use seal::{KeyError, KeyId, Link, Seal, SealError, parse_public_key};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};
use zeroize::{Zeroize as _, Zeroizing};

/// Maximum length of a key file, in bytes. A PEM file of an Ed25519 key has about 120.
const MAX_KEY_FILE_LEN: u64 = 64 << 10;

/// A passphrase, cleared from memory after use.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// Returns the passphrase of the key file at a path when it is needed: from a file or a person.
pub type AskPassphrase<'a> = &'a dyn Fn(&Path) -> io::Result<Passphrase>;

/// Reasons why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum KeyFileError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: longer than {MAX_KEY_FILE_LEN} bytes", path.display())]
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
    #[error(
        "{}: mode {mode:04o} lets others read the private key, expected 0600: \
         correct it with `chmod 600`, and consider whether the key is still secret",
        path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error("passphrase of {}: {error}", path.display())]
    Passphrase { path: PathBuf, error: io::Error },
    #[error("{}: the passphrase is wrong, or the encryption is not supported", path.display())]
    Decrypt { path: PathBuf },
    #[error("random number generator: {0}")]
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
    /// Generates a key from random numbers of the kernel. *Reads* these.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        let got = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| KeyFileError::Random(error.into()))?;
        if got != seed.len() {
            return Err(KeyFileError::Random(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Returns the key of a seed: for tests and reproducible examples. *Pure.*
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Loads a key from a PEM file that only its owner can read. *Reads.* `ask` is called if the key
    /// is encrypted.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(path: &Path, ask: AskPassphrase<'_>) -> Result<Self, KeyFileError> {
        check_mode(path)?;
        let pem = Zeroizing::new(read_text(path)?);
        let origin = path.display().to_string();
        if let Some(found) = pem::foreign_kind(&pem) {
            return Err(KeyFileError::Foreign { origin, found });
        }
        let pem = Zeroizing::new(pem::normalize(&pem));
        if pem::is_encrypted(&pem) {
            let path = path.to_owned();
            let passphrase = match ask(&path) {
                Ok(passphrase) => passphrase,
                Err(error) => return Err(KeyFileError::Passphrase { path, error }),
            };
            return SigningKey::from_pkcs8_encrypted_pem(&pem, &passphrase)
                .map(Self)
                .map_err(|_| KeyFileError::Decrypt { path });
        }
        SigningKey::from_pkcs8_pem(&pem)
            .map(Self)
            .map_err(|error| KeyFileError::Private { origin, error })
    }

    /// Returns the key as PKCS#8 PEM, encrypted if there is a passphrase. *Reads* random numbers of
    /// the kernel then. Version 1, without the public key, because OpenSSL 3.0 does not read
    /// version 2.
    ///
    /// # Errors
    /// [`KeyFileError::Private`] if the encoder fails; no such key is known.
    pub fn to_pem(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyFileError> {
        let mut bytes = ed25519_dalek::pkcs8::KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = match passphrase {
            None => bytes.to_pkcs8_pem(LineEnding::LF),
            Some(passphrase) => bytes.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        };
        bytes.secret_key.zeroize();
        pem.map_err(|error| KeyFileError::Private {
            origin: "new key".to_owned(),
            error,
        })
    }

    /// Returns the public key as SPKI PEM. *Pure.*
    ///
    /// # Errors
    /// [`KeyFileError::Public`] if the encoder fails; no such key is known.
    pub fn public_pem(&self) -> Result<String, KeyFileError> {
        let pem = self.0.verifying_key().to_public_key_pem(LineEnding::LF);
        pem.map_err(|error| KeyFileError::Public {
            origin: "new key".to_owned(),
            error,
        })
    }

    /// Returns the public key. *Pure.*
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Returns the id of the public key. *Pure.*
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public_key())
    }

    /// Returns the signature of `message`. *Pure.* The message must begin with a domain separation
    /// string of its own.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Adds this key's signature to a trust link. *Pure.*
    ///
    /// # Errors
    /// [`SealError`] if the link is full or the key has signed it already.
    pub fn sign_link(&self, link: &mut Link) -> Result<(), SealError> {
        let signature = self.sign(&link.to_be_signed());
        link.add_signature(self.id(), &signature)
    }

    /// Adds this key's signature to a seal. *Pure.*
    ///
    /// # Errors
    /// [`SealError`] if the seal is full or the key has signed it already.
    pub fn sign_seal(&self, seal: &mut Seal) -> Result<(), SealError> {
        let signature = self.sign(&seal.to_be_signed());
        seal.add_signature(self.id(), &signature)
    }
}

/// Parses a public key in PEM. *Pure.* Weak keys are refused. `origin` names the key in errors.
///
/// # Errors
/// [`KeyFileError`].
pub fn parse_public_pem(pem: &str, origin: &str) -> Result<[u8; 32], KeyFileError> {
    let named = || origin.to_owned();
    if let Some(found) = pem::foreign_kind(pem) {
        let origin = named();
        return Err(KeyFileError::Foreign { origin, found });
    }
    let normalized = pem::normalize(pem);
    let bytes = ed25519_dalek::pkcs8::PublicKeyBytes::from_public_key_pem(&normalized).map_err(
        |error| KeyFileError::Public {
            origin: named(),
            error,
        },
    )?;
    let key = bytes.to_bytes();
    parse_public_key(&key).map_err(|error| KeyFileError::Key {
        origin: named(),
        error,
    })?;
    Ok(key)
}

/// Loads a public key from a PEM file. *Reads.*
///
/// # Errors
/// [`KeyFileError`].
pub fn load_public(path: &Path) -> Result<[u8; 32], KeyFileError> {
    parse_public_pem(&read_text(path)?, &path.display().to_string())
}

/// Refuses a private key that other users can read. *Reads* the mode; a pipe has none that matters.
fn check_mode(path: &Path) -> Result<(), KeyFileError> {
    let found = fs::metadata(path).map_err(|error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    })?;
    let mode = found.mode() & 0o7777;
    if found.is_file() && mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeyFileError::Mode { path, mode });
    }
    Ok(())
}

/// Reads a text file, with a maximum length because the path may name any file.
pub(crate) fn read_text(path: &Path) -> Result<String, KeyFileError> {
    use io::Read as _;
    let io = |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Zeroizing::new(Vec::new());
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
