//! Keys and bundles, opened and reported alike by several verbs.

use crate::args::{BaseArg, PassphraseArg, WorkersArg};
use crate::files::{name_of, open_input, open_rereadable};
use crate::{output, passphrase};
use anyhow::{Context as _, Result};
use bundle::Release;
use bundle::create::Created;
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener, SlotImages};
use bundle::report::describe;
use cli::new_file::unnamed;
use cli::quantity;
use seal::{Purpose, Trust};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Loads private keys. Asks for the passphrase of each that is encrypted.
pub(crate) fn load_keys(paths: &[PathBuf], passphrase: &PassphraseArg) -> Result<Vec<SecretKey>> {
    let file = passphrase.passphrase_file.as_deref();
    let ask = |key: &Path| passphrase::read(file, key);
    let keys = paths.iter().map(|path| SecretKey::load(path, &ask));
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Returns how to read a bundle: verified as a release if there is trust. *Pure.*
pub(crate) fn access(trust: Option<&Trust>) -> Access<'_> {
    match trust {
        Some(trust) => Access::Verify(trust, Purpose::Release),
        None => Access::WithoutVerifying,
    }
}

/// Reads the head of a bundle.
pub(crate) fn read_head(path: &Path, access: Access<'_>) -> Result<Arc<Release>> {
    let opener = Opener::open(open_input(path)?, access, 1).with_context(|| name_of(path))?;
    Ok(Arc::clone(opener.release()))
}

/// Opens a bundle to check or extract it, with its base if it is a delta.
pub(crate) fn open(
    path: &Path,
    base: &BaseArg,
    access: Access<'_>,
    workers: &WorkersArg,
) -> Result<Opener<Box<dyn Read>>> {
    let source = open_input(path)?;
    let opener = Opener::open(source, access, workers.count()).with_context(|| name_of(path))?;
    let Some(base) = &base.base else {
        return Ok(opener);
    };
    let base = extract_base(base, access, workers)?;
    opener.with_base(base).with_context(|| name_of(path))
}

fn extract_base(path: &Path, access: Access<'_>, workers: &WorkersArg) -> Result<Arc<SlotImages>> {
    let file = open_rereadable(path)?;
    let new_file = || unnamed(&std::env::temp_dir());
    let images = SlotImages::extract(&file, access, workers.count(), new_file, &mut |_| ());
    Ok(Arc::new(images.with_context(|| name_of(path))?))
}

/// Reports a bundle that was created: a line on standard error, and JSON if that was asked for.
pub(crate) fn report_created(path: &Path, what: &str, created: &Created, json: bool) -> Result<()> {
    if json {
        let file = File::open(path).with_context(|| name_of(path))?;
        let opener = Opener::open(file, Access::WithoutVerifying, 1)?;
        output::json(&describe::json(opener.release()))?;
    }
    let statement = &created.statement;
    cli::output::note(&format!(
        "{}: {what} {}, {}",
        path.display(),
        statement.version,
        quantity::bytes(statement.bundle_len)
    ));
    Ok(())
}
