//! Replacement of a trust file by a newer one that the current keys have signed.
//!
//! A signed trust file contains its keys and ends with lines `# signature KEYID SIGNATURE` in
//! hexadecimal. The signed message is [`DOMAIN`] and the SHA-256 of all text before the first of
//! these lines, 64 bytes.

use crate::hex::{self, hex};
use crate::trust::file::{Keys, TrustFile, TrustFileError, parse, parse_key_id};
use crate::trust::keys::SecretKey;
use ed25519_dalek::Signature;
use seal::{KeyId, Role, parse_public_key};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Domain separation string: a signature of a trust file is not one of a release.
pub const DOMAIN: [u8; 32] = *b"RayOS Update trust file\0\0\0\0\0\0\0\0\0";

const SIGNATURE_LINE: &str = "# signature ";

/// Reasons why a new trust file does not replace the current one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TrustUpdateError {
    #[error(transparent)]
    File(#[from] TrustFileError),
    #[error("line {0:?}, expected a signature")]
    Line(String),
    #[error("key epoch {new}, expected more than {current}")]
    Epoch { current: u64, new: u64 },
    #[error("key {0} is revoked, but not in the new trust file")]
    Unrevoked(KeyId),
    #[error("signature of key {0} does not match")]
    BadSignature(KeyId),
    #[error("signed by {have} {role} key(s) of the current trust file, expected {need}")]
    Threshold { role: Role, have: usize, need: u8 },
}

/// Returns the 64 bytes to sign for a trust file. *Pure.*
#[must_use]
pub fn to_be_signed(text: &str) -> [u8; 64] {
    let (body, _) = split(text);
    let mut message = [0; 64];
    message[..32].copy_from_slice(&DOMAIN);
    message[32..].copy_from_slice(&Sha256::digest(body));
    message
}

/// Returns `text` with a signature of `key` appended. *Pure.*
#[must_use]
pub fn sign(text: &str, key: &SecretKey) -> String {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let text = format!("{text}{newline}");
    let signature = hex(&key.sign(&to_be_signed(&text)));
    format!("{text}{SIGNATURE_LINE}{} {signature}\n", key.id())
}

/// Returns the new trust file, if it may replace the current one. *Pure.* It must contain its keys,
/// have a higher key epoch, revoke every key that is revoked now, and be signed by as many release
/// and vendor keys of the *current* file as the thresholds of that file demand.
///
/// # Errors
/// [`TrustUpdateError`].
pub fn check(current: &TrustFile, new: &str, path: &Path) -> Result<TrustFile, TrustUpdateError> {
    let (body, lines) = split(new);
    let signatures = lines
        .lines()
        .map(signature)
        .collect::<Result<Vec<_>, _>>()?;
    let message = to_be_signed(new);
    let mut signed = Vec::new();
    for key in current.trust.keys() {
        for (_, signature) in signatures.iter().filter(|(id, _)| *id == key.id()) {
            parse_public_key(&key.public_key())
                .ok()
                .and_then(|public| public.verify_strict(&message, signature).ok())
                .ok_or(TrustUpdateError::BadSignature(key.id()))?;
            // A key counts once, however often it signed.
            if !signed.contains(&key) {
                signed.push(key);
            }
        }
    }
    for role in [Role::Release, Role::Vendor] {
        let have = signed.iter().filter(|key| key.has_role(role)).count();
        let need = current.trust.threshold(role);
        if have < usize::from(need) {
            return Err(TrustUpdateError::Threshold { role, have, need });
        }
    }
    // Parsed after it is authenticated.
    let file = parse(body, path, Keys::Inside)?;
    let new = file.trust.epoch();
    let current_epoch = current.trust.epoch();
    if new <= current_epoch {
        return Err(TrustUpdateError::Epoch {
            current: current_epoch,
            new,
        });
    }
    match current.revoked.iter().find(|id| !file.revoked.contains(id)) {
        Some(id) => Err(TrustUpdateError::Unrevoked(*id)),
        None => Ok(file),
    }
}

/// Splits a trust file into the text that is signed and the signature lines.
fn split(text: &str) -> (&str, &str) {
    let line = format!("\n{SIGNATURE_LINE}");
    text.find(&line)
        .map_or((text, ""), |at| text.split_at(at + 1))
}

fn signature(line: &str) -> Result<(KeyId, Signature), TrustUpdateError> {
    let refused = || TrustUpdateError::Line(line.chars().take(80).collect());
    let (id, signature) = line
        .strip_prefix(SIGNATURE_LINE)
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(refused)?;
    let id = parse_key_id(id).ok_or_else(refused)?;
    let signature: [u8; 64] = hex::decode(signature).ok_or_else(refused)?;
    Ok((id, Signature::from_bytes(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn file(epoch: u64, threshold: u8, keys: &[u8], revoked: &[u8]) -> String {
        let revoked: Vec<String> = revoked
            .iter()
            .map(|seed| format!("\"{}\"", key(*seed).id()))
            .collect();
        let mut text = format!(
            "epoch = {epoch}\nrevoked = [{}]\n[threshold]\nrelease = {threshold}\n",
            revoked.join(", ")
        );
        for seed in keys {
            let pem = key(*seed).public_pem().unwrap();
            text += &format!(
                "[[key]]\nname = \"{seed}\"\nroles = [\"release\"]\npublic_key = '''{pem}'''\n"
            );
        }
        text
    }

    fn current() -> TrustFile {
        parse(
            &file(1, 2, &[1, 2, 3], &[9]),
            Path::new("trust.toml"),
            Keys::Inside,
        )
        .unwrap()
    }

    fn refused(new: &str) -> String {
        check(&current(), new, Path::new("new.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_threshold_of_the_current_file_decides() {
        let new = file(2, 1, &[4], &[9, 1]);
        assert_eq!(
            refused(&new),
            "signed by 0 release key(s) of the current trust file, expected 2"
        );
        let once = sign(&new, &key(1));
        assert_eq!(
            refused(&once),
            "signed by 1 release key(s) of the current trust file, expected 2"
        );
        assert_eq!(
            refused(&sign(&once, &key(1))),
            "signed by 1 release key(s) of the current trust file, expected 2"
        );
        assert_eq!(
            refused(&sign(&once, &key(4))),
            "signed by 1 release key(s) of the current trust file, expected 2"
        );
        let twice = sign(&once, &key(3));
        assert_eq!(
            check(&current(), &twice, Path::new("new.toml"))
                .unwrap()
                .trust
                .epoch(),
            2
        );
    }

    #[test]
    fn the_epoch_must_rise_and_revocations_must_stay() {
        let signed = |text: String| sign(&sign(&text, &key(1)), &key(2));
        assert_eq!(
            refused(&signed(file(1, 1, &[4], &[9]))),
            "key epoch 1, expected more than 1"
        );
        assert_eq!(
            refused(&signed(file(2, 1, &[4], &[]))),
            format!(
                "key {} is revoked, but not in the new trust file",
                key(9).id()
            )
        );
        assert!(
            refused(&signed(file(2, 2, &[4, 9], &[9])))
                .contains("release role has 1 key(s) and a threshold of 2")
        );
    }

    #[test]
    fn a_change_after_signing_is_refused() {
        let signed = sign(&sign(&file(2, 1, &[4], &[9]), &key(1)), &key(2));
        assert!(refused(&signed.replace("epoch = 2", "epoch = 3")).ends_with("does not match"));
        assert!(refused(&(signed.clone() + "epoch = 3\n")).starts_with("line \"epoch = 3\""));
        assert!(refused(&signed.replace("# signature ", "# signature x")).starts_with("line "));
    }

    #[test]
    fn a_signature_of_another_domain_is_refused() {
        let new = file(2, 1, &[4], &[9]);
        let other = hex(&key(1).sign(&Sha256::digest(&new)));
        assert!(
            refused(&format!("{new}# signature {} {other}\n", key(1).id()))
                .ends_with("does not match")
        );
    }

    #[test]
    fn keys_in_other_files_cannot_be_signed() {
        let new = "epoch = 2\n[threshold]\nrelease = 1\n[[key]]\nname = \"a\"\nroles = [\"release\"]\npath = \"a.pub\"\n";
        let signed = sign(&sign(new, &key(1)), &key(2));
        assert!(refused(&signed).contains("a signed trust file must contain its keys"));
    }
}
