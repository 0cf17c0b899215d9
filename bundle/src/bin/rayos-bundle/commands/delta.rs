//! The verb `delta`.

use crate::args::{Delta, check_json};
use crate::commands::bundles::{access, load_keys, report_created};
use crate::files::{name_of, open_rereadable, with_output};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::Release;
use bundle::create::{BundleOutput, Created};
use bundle::delta::{self, DeltaOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener, SLOT_ROLES, SlotImages};
use cli::input::refuse_input_as_output;
use cli::new_file::unnamed;
use seal::{Role, Trust, TrustedKey};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn delta(args: &Delta) -> Result<()> {
    check_json(args.json, &args.output);
    let inputs = [&args.old, &args.new].into_iter();
    let inputs = inputs.chain(&args.signature.key).chain(&args.trust);
    refuse_input_as_output(&args.output, inputs.map(PathBuf::as_path))?;
    let keys = load_keys(&args.signature.key, &args.signature.passphrase)?;
    let trust = match &args.trust {
        Some(path) => bundle::trust::load(path)?,
        None => trust_any_of(&keys)?,
    };
    let old = Input::open(&args.old, access(Some(&trust)))?;
    let new = Input::open(&args.new, access(Some(&trust)))?;
    // Refuses a pair of releases before anything is extracted.
    delta::check(&old.release, &new.release)?;
    let options = DeltaOptions {
        keys: &keys,
        level: args.level,
        workers: args.workers.count(),
    };
    let created = with_output(&args.output, |out, folder| {
        create(&old, &new, options, out, folder)
    })?;
    let what = if keys.is_empty() {
        "unsigned delta to release"
    } else {
        "signed delta to release"
    };
    report_created(&args.output, what, &created, args.json)
}

/// Creates the delta, with temporary files in `folder`.
fn create(
    old: &Input<'_>,
    new: &Input<'_>,
    options: DeltaOptions<'_>,
    mut out: &mut dyn Write,
    folder: &Path,
) -> Result<Created> {
    // Both sides are extracted. Then the old one is sampled and the new one compressed.
    let bar = output::progress_bar(2 * (old.images_len() + new.images_len()), "delta");
    let mut progress = |bytes| bar.inc(bytes);
    let old = old.extract(options.workers, folder, &mut progress)?;
    let new = new.extract(options.workers, folder, &mut progress)?;
    let output = BundleOutput {
        spool: &mut unnamed(folder)?,
        out: &mut out,
    };
    let created = delta::create(&old, &new, options, output, &mut progress)?;
    bar.finish_and_clear();
    Ok(created)
}

/// A bundle on one side of the delta.
struct Input<'a> {
    path: &'a Path,
    file: File,
    access: Access<'a>,
    release: Arc<Release>,
}

impl<'a> Input<'a> {
    fn open(path: &'a Path, access: Access<'a>) -> Result<Self> {
        let file = open_rereadable(path)?;
        let opener = Opener::open(&file, access, 1).with_context(|| name_of(path))?;
        let release = Arc::clone(opener.release());
        Ok(Self {
            path,
            file,
            access,
            release,
        })
    }

    /// Returns the size of the images that the delta is about.
    fn images_len(&self) -> u64 {
        let roles = SLOT_ROLES.iter();
        roles
            .filter_map(|role| self.release.image(*role))
            .map(|image| image.size)
            .sum()
    }

    fn extract(
        &self,
        workers: usize,
        folder: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<SlotImages> {
        let new_file = || unnamed(folder);
        SlotImages::extract(&self.file, self.access, workers, new_file, progress)
            .with_context(|| name_of(self.path))
    }
}

/// Returns trust in a signature of any one of the keys, at any key epoch.
fn trust_any_of(keys: &[SecretKey]) -> Result<Trust> {
    let keys: Result<Vec<_>, _> = keys
        .iter()
        .map(|key| TrustedKey::new(&key.public_key(), &[Role::Release]))
        .collect();
    Ok(Trust::new(u64::MAX, [1, 0, 0], &keys?)?)
}
