//! Verbs that create keys and signatures: `keygen`, `sign`, `digest`, `attach`.

use crate::args::{Attach, DigestArgs, Keygen, Sign};
use crate::commands::bundles::load_keys;
use crate::files::{name_of, open_input, open_to_sign, write_new, write_output};
use anyhow::{Context as _, Result};
use bundle::keys::{self, SecretKey};
use bundle::trust::signing;
use cli::input::refuse_input_as_output;
use seal::Seal;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let key = SecretKey::generate()?;
    let secret = with_suffix(&args.output, ".key");
    let public = with_suffix(&args.output, ".pub");
    if let Some(folder) = args.output.parent() {
        fs::create_dir_all(folder).with_context(|| name_of(folder))?;
    }
    write_new(&secret, 0o600, key.to_pem()?.as_bytes())?;
    write_new(&public, 0o644, key.public_pem()?.as_bytes())?;
    cli::output::note(&format!(
        "{} and {}: key {}",
        secret.display(),
        public.display(),
        key.id()
    ));
    Ok(())
}

/// Appends to the name, which may contain dots. *Pure.*
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub(crate) fn sign(args: &Sign) -> Result<()> {
    let keys = load_keys(&args.key)?;
    let file = open_to_sign(&args.bundle)?;
    let seal = signing::sign(&file, &keys).with_context(|| name_of(&args.bundle))?;
    note_signatures(&args.bundle, &seal);
    Ok(())
}

pub(crate) fn digest(args: &DigestArgs) -> Result<()> {
    refuse_input_as_output(&args.output, [args.bundle.as_path()])?;
    let bundle = open_input(&args.bundle)?;
    let seal = signing::read_seal(bundle).with_context(|| name_of(&args.bundle))?;
    write_output(&args.output, &seal.to_be_signed())
}

pub(crate) fn attach(args: &Attach) -> Result<()> {
    let public_key = keys::load_public(&args.public_key)?;
    let mut signature = Vec::new();
    // One byte more than a signature has, to detect a longer one.
    open_input(&args.signature)?
        .take(65)
        .read_to_end(&mut signature)
        .with_context(|| name_of(&args.signature))?;
    let file = open_to_sign(&args.bundle)?;
    let seal =
        signing::attach(&file, &public_key, &signature).with_context(|| name_of(&args.bundle))?;
    note_signatures(&args.bundle, &seal);
    Ok(())
}

fn note_signatures(bundle: &Path, seal: &Seal) {
    let count = seal.signatures().count();
    cli::output::note(&format!("{}: {count} signature(s)", bundle.display()));
}
