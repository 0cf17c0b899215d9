//! Verbs that read a whole bundle.

use crate::args::{Extract, PurposeName, Verify};
use crate::commands::delta;
use crate::files::{is_dash, name_of, open_input, open_stdout};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::open::{Access, Opener};
use bundle::report::describe;
use bundle::trust;
use cli::input::refuse_input_as_output;
use cli::new_file::{NewFile, unnamed};
use seal::Purpose;
use std::io::{self, Seek as _};
use std::path::PathBuf;

pub(crate) fn verify(args: &Verify) -> Result<()> {
    let trust = trust::load(&args.trust.trust)?;
    let purpose = match args.trust.purpose {
        PurposeName::Release => Purpose::Release,
        PurposeName::Recovery => Purpose::Recovery,
    };
    let name = name_of(&args.bundle);
    let source = open_input(&args.bundle)?;
    let access = Access::Verify(&trust, purpose);
    let mut opener = Opener::open(source, access, args.work.workers()).context(name.clone())?;
    if let Some(base) = delta::base(&args.base, access, &args.work)? {
        opener = opener.with_base(base).context(name.clone())?;
    }
    let release = std::sync::Arc::clone(opener.release());
    let bar = output::bar(
        release.images().iter().map(|image| image.size).sum(),
        "verify",
    );
    opener
        .check(&mut |bytes| bar.inc(bytes))
        .context(name.clone())?;
    bar.finish_and_clear();
    if args.json {
        output::json(&describe::json(&release))?;
    } else {
        output::result(&format!(
            "{name}: release {} is complete, and signed as asked for",
            release.manifest().version
        ))?;
    }
    Ok(())
}

pub(crate) fn extract(args: &Extract) -> Result<()> {
    let source = open_input(&args.bundle)?;
    let trust = args.trust.as_deref().map(trust::load).transpose()?;
    let access = match &trust {
        Some(trust) => Access::Verify(trust, Purpose::Release),
        None => Access::WithoutVerifying,
    };
    let name = name_of(&args.bundle);
    let mut opener = Opener::open(source, access, args.work.workers()).context(name.clone())?;
    if let Some(base) = delta::base(&args.base, access, &args.work)? {
        opener = opener.with_base(base).context(name.clone())?;
    }
    let size = opener
        .release()
        .image(args.image)
        .map_or(0, |image| image.size);
    let bar = output::bar(size, "extract");
    let mut progress = |bytes| bar.inc(bytes);
    if is_dash(&args.output) {
        let mut out = open_stdout()?;
        // Nothing is handed on before all of it has been checked.
        let mut file = unnamed(&std::env::temp_dir())?;
        opener
            .extract(args.image, &file, &mut progress)
            .context(name)?;
        bar.finish_and_clear();
        file.rewind()?;
        io::copy(&mut file, &mut out)?;
        return Ok(());
    }
    let inputs = [&args.bundle].into_iter().chain(&args.trust);
    let inputs = inputs.chain(&args.base.base).map(PathBuf::as_path);
    refuse_input_as_output(&args.output, inputs)?;
    let output = || args.output.display().to_string();
    let part = NewFile::create(&args.output).with_context(output)?;
    opener
        .extract(args.image, &part.file, &mut progress)
        .context(name)?;
    bar.finish_and_clear();
    part.publish().with_context(output)
}
