//! Signing of a finished bundle: only its first 4096 bytes change.

use crate::trust::keys::SecretKey;
use seal::{KeyError, KeyId, SEAL_LEN, Seal, SealError, parse_public_key};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Reasons why a bundle cannot be signed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum SignError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("signature of {found} bytes, expected 64")]
    SignatureLength { found: usize },
    #[error("signature of key {0} does not match this bundle")]
    Mismatch(KeyId),
}

/// Reads the seal of a bundle. *Reads* its first 4096 bytes.
///
/// # Errors
/// [`SignError::Io`] or [`SignError::Seal`].
pub fn read_seal(mut bundle: impl Read) -> Result<Seal, SignError> {
    let mut bytes = [0; SEAL_LEN];
    bundle.read_exact(&mut bytes)?;
    Ok(Seal::from_bytes(&bytes)?)
}

fn seal_in(file: &File) -> Result<Seal, SignError> {
    let mut bytes = [0; SEAL_LEN];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Seal::from_bytes(&bytes)?)
}

/// Adds the signatures of `keys` to a bundle file. *Writes* its first 4096 bytes, durable on
/// return.
///
/// # Errors
/// [`SignError`]. Unless writing failed, the file is unchanged.
///
/// # Power loss
/// A torn write leaves a seal with a wrong checksum, which every reader refuses. Restore the bundle
/// from a copy and sign it again.
pub fn sign(file: &File, keys: &[SecretKey]) -> Result<Seal, SignError> {
    let mut seal = seal_in(file)?;
    keys.iter().try_for_each(|key| key.sign_seal(&mut seal))?;
    write_seal(file, &seal)?;
    Ok(seal)
}

/// Adds a signature of [`Seal::to_be_signed`] that was made elsewhere, after verifying it. *Writes*
/// as [`sign`].
///
/// # Errors
/// [`SignError`]. Unless writing failed, the file is unchanged.
///
/// # Power loss
/// As [`sign`].
pub fn attach(file: &File, public_key: &[u8; 32], signature: &[u8]) -> Result<Seal, SignError> {
    let mut seal = seal_in(file)?;
    let found = signature.len();
    let signature: &[u8; 64] = signature
        .try_into()
        .map_err(|_| SignError::SignatureLength { found })?;
    let id = KeyId::of(public_key);
    parse_public_key(public_key)?
        .verify_strict(
            &seal.to_be_signed(),
            &ed25519_dalek::Signature::from_bytes(signature),
        )
        .map_err(|_| SignError::Mismatch(id))?;
    seal.add_signature(id, signature)?;
    write_seal(file, &seal)?;
    Ok(seal)
}

fn write_seal(file: &File, seal: &Seal) -> Result<(), SignError> {
    file.write_all_at(seal.as_bytes(), 0)?;
    file.sync_all()?;
    Ok(())
}
