//! Verbs that make keys and signatures.

use crate::args::{Attach, DigestArgs, Keygen, Sign};
use crate::files::{name_of, open_input, open_to_sign, write_new, write_output};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::keys::{self, SecretKey};
use bundle::trust::signing;
use cli::input::refuse_input_as_output;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let key = SecretKey::generate()?;
    let ending = |ending: &str| {
        let mut path = args.out.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    let (secret, public) = (ending(".key"), ending(".pub"));
    if let Some(folder) = args.out.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    write_new(&secret, 0o600, key.to_pem()?.as_bytes())?;
    write_new(&public, 0o644, key.public_pem()?.as_bytes())?;
    output::note(&format!(
        "{} and {}: key {}",
        secret.display(),
        public.display(),
        key.id()
    ));
    Ok(())
}

pub(crate) fn sign(args: &Sign) -> Result<()> {
    let keys = args
        .key
        .iter()
        .map(|path| SecretKey::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    let file = open_to_sign(&args.bundle)?;
    let seal = signing::sign(&file, &keys).with_context(|| args.bundle.display().to_string())?;
    output::note(&format!(
        "{}: {} signature(s)",
        args.bundle.display(),
        seal.signatures().count()
    ));
    Ok(())
}

pub(crate) fn digest(args: &DigestArgs) -> Result<()> {
    refuse_input_as_output(&args.output, [args.bundle.as_path()])?;
    let seal =
        signing::read_seal(open_input(&args.bundle)?).with_context(|| name_of(&args.bundle))?;
    write_output(&args.output, &seal.to_be_signed())
}

pub(crate) fn attach(args: &Attach) -> Result<()> {
    let public_key = keys::load_public(&args.public_key)?;
    let mut signature = Vec::new();
    // One byte more than a signature has, so that a longer one is seen to be longer.
    open_input(&args.signature)?
        .take(65)
        .read_to_end(&mut signature)?;
    let file = open_to_sign(&args.bundle)?;
    let seal = signing::attach(&file, &public_key, &signature)
        .with_context(|| args.bundle.display().to_string())?;
    output::note(&format!(
        "{}: {} signature(s)",
        args.bundle.display(),
        seal.signatures().count()
    ));
    Ok(())
}
