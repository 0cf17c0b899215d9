//! The verb that makes delta bundles, and the base that opening one needs.

use crate::args::{BaseOption, Delta, Work, refuse_json};
use crate::files::{is_dash, open_stdout};
use crate::output;
use anyhow::{Context as _, Result, ensure};
use bundle::create::Created;
use bundle::delta::{self, Options};
use bundle::keys::SecretKey;
use bundle::open::{Access, Extracted, Opener, SLOT_ROLES};
use bundle::report::describe;
use bundle::trust;
use cli::input::refuse_input_as_output;
use cli::new_file::{NewFile, unnamed};
use seal::{Purpose, Role, Trust, TrustedKey};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn delta(args: &Delta) -> Result<()> {
    refuse_json(args.json, &args.output);
    let keys = args
        .key
        .iter()
        .map(|path| SecretKey::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    let trust = match &args.trust {
        Some(path) => trust::load(path)?,
        None => trust_in(&keys)?,
    };
    let created = if is_dash(&args.output) {
        make(
            args,
            &keys,
            &trust,
            &std::env::temp_dir(),
            &mut open_stdout()?,
        )?
    } else {
        let inputs = [&args.old, &args.new].into_iter().chain(&args.key);
        let inputs = inputs.chain(&args.trust).map(|path| path.as_path());
        refuse_input_as_output(&args.output, inputs)?;
        let name = || args.output.display().to_string();
        let part = NewFile::create(&args.output).with_context(name)?;
        let mut file = &part.file;
        let created = make(args, &keys, &trust, part.folder(), &mut file)?;
        part.publish().with_context(name)?;
        created
    };
    if args.json {
        let file = File::open(&args.output)?;
        output::json(&describe::json(
            Opener::open(file, Access::WithoutVerifying, 1)?.release(),
        ))?;
    }
    let (version, len) = (
        created.statement.version,
        describe::size(created.statement.bundle_len),
    );
    let signed = if keys.is_empty() {
        "unsigned"
    } else {
        "signed"
    };
    output::note(&format!(
        "{}: {signed} delta to release {version}, {len}",
        args.output.display()
    ));
    Ok(())
}

/// Makes the delta with its intermediate files in `folder`.
fn make(
    args: &Delta,
    keys: &[SecretKey],
    trust: &Trust,
    folder: &Path,
    out: &mut impl Write,
) -> Result<Created> {
    let access = Access::Verify(trust, Purpose::Release);
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let (old_name, new_name) = (
        || args.old.display().to_string(),
        || args.new.display().to_string(),
    );
    // What cannot be is said before anything is unpacked.
    let head =
        |file: &File| Opener::open(file, access, 1).map(|opener| Arc::clone(opener.release()));
    let old_head = head(&old).with_context(old_name)?;
    let new_head = head(&new).with_context(new_name)?;
    delta::check(&old_head, &new_head)?;
    let len = |head: &bundle::Release| {
        let images = SLOT_ROLES.iter().filter_map(|role| head.image(*role));
        images.map(|image| image.size).sum::<u64>()
    };
    // Each side is unpacked, then the old one is looked through and the new one compressed.
    let bar = output::bar(2 * (len(&old_head) + len(&new_head)), "delta");
    let mut progress = |bytes| bar.inc(bytes);
    let workers = args.work.workers();
    let scratch = || unnamed(folder);
    let old =
        Extracted::open(&old, access, workers, scratch, &mut progress).with_context(old_name)?;
    let new =
        Extracted::open(&new, access, workers, scratch, &mut progress).with_context(new_name)?;
    let options = Options {
        level: args.level,
        workers,
    };
    let mut spool = unnamed(folder)?;
    let created = delta::make(&old, &new, options, keys, &mut spool, out, &mut progress)?;
    bar.finish_and_clear();
    Ok(created)
}

/// The base that was given for a delta bundle, unpacked.
pub(crate) fn base(
    option: &BaseOption,
    access: Access<'_>,
    work: &Work,
) -> Result<Option<Arc<Extracted>>> {
    let Some(path) = &option.base else {
        return Ok(None);
    };
    let file = open(path)?;
    let scratch = || unnamed(&std::env::temp_dir());
    let base = Extracted::open(&file, access, work.workers(), scratch, &mut |_| ());
    Ok(Some(Arc::new(
        base.with_context(|| path.display().to_string())?,
    )))
}

fn open(path: &Path) -> Result<File> {
    // It is read several times.
    ensure!(
        !is_dash(path),
        "standard input cannot be read twice: name a file"
    );
    File::open(path).with_context(|| path.display().to_string())
}

/// Trust in whoever can sign the delta: any one of the keys.
fn trust_in(keys: &[SecretKey]) -> Result<Trust> {
    let keys: Result<Vec<_>, _> = keys
        .iter()
        .map(|key| TrustedKey::new(&key.public_key(), &[Role::Release]))
        .collect();
    Ok(Trust::new(u64::MAX, [1, 0, 0], &keys?)?)
}
