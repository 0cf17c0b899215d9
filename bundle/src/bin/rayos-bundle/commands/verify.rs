//! Verbs that read a whole bundle: `verify` and `extract`.

use crate::args::{Extract, PurposeName, Verify};
use crate::commands::bundles::{access, open};
use crate::files::{is_dash, name_of, open_stdout};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::open::Access;
use bundle::report::describe;
use bundle::trust;
use cli::input::refuse_input_as_output;
use cli::new_file::{NewFile, unnamed};
use seal::Purpose;
use std::io::{self, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn verify(args: &Verify) -> Result<()> {
    let trust = trust::load(&args.trust.trust)?;
    let purpose = match args.trust.purpose {
        PurposeName::Release => Purpose::Release,
        PurposeName::Recovery => Purpose::Recovery,
    };
    let access = Access::Verify(&trust, purpose);
    let opener = open(&args.bundle, &args.base, access, &args.workers)?;
    let release = Arc::clone(opener.release());
    let len = release.images().iter().map(|image| image.size).sum();
    let bar = output::progress_bar(len, "verify");
    opener
        .check(&mut |bytes| bar.inc(bytes))
        .with_context(|| name_of(&args.bundle))?;
    bar.finish_and_clear();
    if args.json {
        output::json(&describe::json(&release))?;
    } else {
        cli::output::print(&format!(
            "{}: release {}: every byte and the signatures verified",
            name_of(&args.bundle),
            release.manifest().version
        ))?;
    }
    Ok(())
}

pub(crate) fn extract(args: &Extract) -> Result<()> {
    let inputs = [&args.bundle].into_iter();
    let inputs = inputs.chain(&args.trust).chain(&args.base.base);
    refuse_input_as_output(&args.output, inputs.map(PathBuf::as_path))?;
    let trust = args.trust.as_deref().map(trust::load).transpose()?;
    let access = access(trust.as_ref());
    let opener = open(&args.bundle, &args.base, access, &args.workers)?;
    let image = opener.release().image(args.image);
    let bar = output::progress_bar(image.map_or(0, |image| image.size), "extract");
    let mut progress = |bytes| bar.inc(bytes);
    if is_dash(&args.output) {
        let mut out = open_stdout()?;
        // The whole image is checked before its first byte is written to standard output.
        let mut file = unnamed(&std::env::temp_dir())?;
        opener
            .extract(args.image, &file, &mut progress)
            .with_context(|| name_of(&args.bundle))?;
        bar.finish_and_clear();
        file.rewind()?;
        io::copy(&mut file, &mut out)?;
        return Ok(());
    }
    let new = NewFile::create(&args.output).with_context(|| name_of(&args.output))?;
    opener
        .extract(args.image, &new.file, &mut progress)
        .with_context(|| name_of(&args.bundle))?;
    bar.finish_and_clear();
    new.publish().with_context(|| name_of(&args.output))
}
