//! Verbs that create keys and signatures: `keygen`, `sign`, `digest`, `attach`.

use crate::args::{Attach, DigestArgs, InspectionArgs, Keygen, Sign};
use crate::commands::bundles::load_keys;
use crate::files::{
    is_dash, name_of, open_input, open_stdout, open_to_sign, write_new, write_output,
};
use crate::{output, passphrase};
use anyhow::{Context as _, Result};
use bundle::keys::{self, SecretKey};
use bundle::open::{Access, Opener};
use bundle::trust::{pe, signing};
use bundle::{ImageRole, Release};
use cli::input::refuse_input_as_output;
use cli::new_file::unnamed;
use seal::{Purpose, Seal};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum length of a guard that is extracted to compare its keys.
const MAX_GUARD: u64 = 4 << 20;

pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let key = SecretKey::generate()?;
    let secret = with_suffix(&args.output, ".key");
    let public = with_suffix(&args.output, ".pub");
    if let Some(folder) = args.output.parent() {
        fs::create_dir_all(folder).with_context(|| name_of(folder))?;
    }
    let file = args.passphrase_file.as_deref();
    let passphrase = if args.encrypt || file.is_some() {
        let found = passphrase::read_new(file, &secret);
        Some(found.with_context(|| format!("passphrase of {}", secret.display()))?)
    } else {
        None
    };
    let pem = key.to_pem(passphrase.as_ref().map(|bytes| bytes.as_slice()))?;
    write_new(&secret, 0o600, pem.as_bytes())?;
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
    let file = open_to_sign(&args.bundle)?;
    inspect(&args.bundle, &file, &args.inspection)?;
    let keys = load_keys(&args.key, &args.passphrase)?;
    let seal = signing::sign(&file, &keys).with_context(|| name_of(&args.bundle))?;
    note_signatures(&args.bundle, &seal);
    warn_about_guard(&args.bundle, &file, &seal)
}

/// Checks every digest of a bundle and prints what it is, so that the person who signs knows what
/// is signed. *Reads* the bundle.
fn inspect(path: &Path, file: &File, how: &InspectionArgs) -> Result<()> {
    let open = || {
        let mut from_front = file;
        from_front.rewind()?;
        let workers = how.workers.count();
        Ok::<_, anyhow::Error>(Opener::open(from_front, Access::WithoutVerifying, workers)?)
    };
    let opener = open().with_context(|| name_of(path))?;
    let release = Arc::clone(opener.release());
    describe(path, &release);
    if how.skip_payload {
        note(
            path,
            "the payload was not read: its digests are those of the manifest",
        );
        return Ok(());
    }
    let len = release.images().iter().map(|image| image.size).sum();
    let bar = output::progress_bar(len, "verify");
    let checked = opener.check(&mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    checked.with_context(|| name_of(path))?;
    note(path, "every chunk has its digest");
    Ok(())
}

fn describe(path: &Path, release: &Release) {
    let (statement, manifest) = (release.statement(), release.manifest());
    let revokes = if statement.revoke {
        ", revokes older releases"
    } else {
        ""
    };
    note(
        path,
        &format!(
            "release {}, rollback index {}, key epoch {}{revokes}",
            statement.version, statement.rollback_index, statement.key_epoch
        ),
    );
    let compatible = manifest.compatible.join(", ");
    note(
        path,
        &format!("compatible with {}", cli::output::printable(&compatible)),
    );
    let digest = bundle::hex(&statement.manifest.sha256);
    note(path, &format!("SHA-256 of the manifest {digest}"));
}

fn note(path: &Path, words: &str) {
    cli::output::note(&format!("{}: {words}", path.display()));
}

/// Warns if the guard in the bundle does not accept its signatures. A further signature may be
/// missing, so it is no error.
fn warn_about_guard(path: &Path, file: &File, seal: &Seal) -> Result<()> {
    let open = || {
        let mut from_front = file;
        from_front.rewind()?;
        Ok::<_, anyhow::Error>(Opener::open(from_front, Access::WithoutVerifying, 1)?)
    };
    let opener = open().with_context(|| name_of(path))?;
    let image = opener.release().image(ImageRole::Guard);
    if image.is_none_or(|image| image.size > MAX_GUARD) {
        return Ok(());
    }
    let links = opener.release().links().to_vec();
    let mut guard = Vec::new();
    let mut copy = unnamed(&std::env::temp_dir())?;
    opener.extract(ImageRole::Guard, &copy, &mut |_| ())?;
    copy.rewind()?;
    copy.read_to_end(&mut guard)?;
    let purposes = [Purpose::Release, Purpose::Recovery];
    let checked = pe::guard_chain(&guard, &links)
        .and_then(|chain| pe::check_guard(&chain, "these signatures", seal, &purposes));
    if let Err(error) = checked {
        note(path, &format!("warning: {error}"));
    }
    Ok(())
}

pub(crate) fn digest(args: &DigestArgs) -> Result<()> {
    refuse_input_as_output(&args.output, [args.bundle.as_path()])?;
    if is_dash(&args.output) {
        // Refuses a terminal before the bundle is read.
        drop(open_stdout()?);
    }
    if !is_dash(&args.bundle) {
        let file = File::open(&args.bundle).with_context(|| name_of(&args.bundle))?;
        inspect(&args.bundle, &file, &args.inspection)?;
    }
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
