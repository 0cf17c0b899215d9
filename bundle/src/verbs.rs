//! What each verb does: open the files, call the library, print.

use crate::cli::{
    Attach, Create, DigestArgs, Extract, Keygen, PurposeName, Sign, Verify, Work, refuse_json,
};
use crate::deltas;
use crate::files::{
    STANDARD_INPUT, is_dash, name_of, open_input, open_stdout, open_to_sign, write_new,
    write_output,
};
use crate::look::Differs;
use crate::terminal;
use anyhow::{Context as _, Result};
use bundle::create::CreateError;
use bundle::delta::DeltaError;
use bundle::keys::{self, SecretKey};
use bundle::open::{Access, OpenError, Opener};
use bundle::pe::PeError;
use bundle::recipe::Recipe;
use bundle::signing::SignError;
use bundle::trust::{self, TrustFileError};
use bundle::trust_update::TrustUpdateError;
use bundle::{ReadError, describe, parallel, signing};
use cli::input::refuse_input_as_output;
use cli::new_file::{NewFile, unnamed};
use seal::Purpose;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

/// 3 if a bundle, a key or a trust file was refused, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let refused = error.chain().any(|cause| {
        cause
            .downcast_ref::<OpenError>()
            .is_some_and(OpenError::is_refusal)
            || cause
                .downcast_ref::<ReadError>()
                .is_some_and(ReadError::is_refusal)
            || cause
                .downcast_ref::<SignError>()
                .is_some_and(|error| !matches!(error, SignError::Io(_)))
            || matches!(
                cause.downcast_ref::<TrustFileError>(),
                Some(TrustFileError::Trust { .. })
            )
            || matches!(
                cause.downcast_ref::<CreateError>(),
                Some(CreateError::Sign(_))
            )
            || cause
                .downcast_ref::<DeltaError>()
                .is_some_and(DeltaError::is_refusal)
            || cause.is::<PeError>()
            || cause.is::<Differs>()
            || cause
                .downcast_ref::<TrustUpdateError>()
                .is_some_and(|error| !matches!(error, TrustUpdateError::File(_)))
    });
    if refused { 3 } else { 1 }
}

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
    terminal::note(&format!(
        "{} and {}: key {}",
        secret.display(),
        public.display(),
        key.id()
    ));
    Ok(())
}

pub(crate) fn create(args: &Create) -> Result<()> {
    refuse_json(args.json, &args.output);
    let mut recipe = recipe(&args.recipe, args.source_date_epoch.as_deref())?;
    recipe.level = args.level.unwrap_or(recipe.level);
    let keys = args
        .key
        .iter()
        .map(|path| SecretKey::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    let len = recipe
        .images
        .iter()
        .filter_map(|image| fs::metadata(&image.path).ok())
        .map(|found| found.len())
        .sum();
    let bar = terminal::bar(len, "compress");
    let mut progress = |bytes| bar.inc(bytes);
    let workers = workers(&args.work);
    let created = if is_dash(&args.output) {
        let mut spool = unnamed(&std::env::temp_dir())?;
        bundle::create(
            &recipe,
            &keys,
            workers,
            &mut spool,
            &mut open_stdout()?,
            &mut progress,
        )?
    } else {
        let inputs = recipe.inputs().chain(args.key.iter().map(PathBuf::as_path));
        refuse_input_as_output(&args.output, inputs.chain([args.recipe.as_path()]))?;
        let name = || args.output.display().to_string();
        let part = NewFile::create(&args.output).with_context(name)?;
        let mut spool = unnamed(part.folder())?;
        let mut file = &part.file;
        let created = bundle::create(
            &recipe,
            &keys,
            workers,
            &mut spool,
            &mut file,
            &mut progress,
        )?;
        part.publish().with_context(name)?;
        created
    };
    bar.finish_and_clear();
    if args.json {
        let file = File::open(&args.output)?;
        terminal::json(&describe::json(
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
    terminal::note(&format!(
        "{}: {signed} release {version}, {len}",
        args.output.display()
    ));
    Ok(())
}

/// The description of a release in a file, or on standard input: paths in it then begin at the
/// current directory.
fn recipe(path: &Path, epoch: Option<&str>) -> Result<Recipe> {
    if !is_dash(path) {
        return Ok(Recipe::load(path, epoch)?);
    }
    let text = io::read_to_string(io::stdin().lock()).context(STANDARD_INPUT)?;
    Ok(Recipe::parse(&text, Path::new(STANDARD_INPUT), epoch)?)
}

pub(crate) fn sign(args: &Sign) -> Result<()> {
    let keys = args
        .key
        .iter()
        .map(|path| SecretKey::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    let file = open_to_sign(&args.bundle)?;
    let seal = signing::sign(&file, &keys).with_context(|| args.bundle.display().to_string())?;
    terminal::note(&format!(
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
    terminal::note(&format!(
        "{}: {} signature(s)",
        args.bundle.display(),
        seal.signatures().count()
    ));
    Ok(())
}

pub(crate) fn verify(args: &Verify) -> Result<()> {
    let trust = trust::load(&args.trust.trust)?;
    let purpose = match args.trust.purpose {
        PurposeName::Release => Purpose::Release,
        PurposeName::Recovery => Purpose::Recovery,
    };
    let name = name_of(&args.bundle);
    let source = open_input(&args.bundle)?;
    let access = Access::Verify(&trust, purpose);
    let mut opener = Opener::open(source, access, workers(&args.work)).context(name.clone())?;
    if let Some(base) = deltas::base(&args.base, access, &args.work)? {
        opener = opener.with_base(base).context(name.clone())?;
    }
    let release = std::sync::Arc::clone(opener.release());
    let bar = terminal::bar(
        release.images().iter().map(|image| image.size).sum(),
        "verify",
    );
    opener
        .check(&mut |bytes| bar.inc(bytes))
        .context(name.clone())?;
    bar.finish_and_clear();
    if args.json {
        terminal::json(&describe::json(&release))?;
    } else {
        terminal::result(&format!(
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
    let mut opener = Opener::open(source, access, workers(&args.work)).context(name.clone())?;
    if let Some(base) = deltas::base(&args.base, access, &args.work)? {
        opener = opener.with_base(base).context(name.clone())?;
    }
    let size = opener
        .release()
        .image(args.image)
        .map_or(0, |image| image.size);
    let bar = terminal::bar(size, "extract");
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

pub(crate) fn workers(work: &Work) -> usize {
    work.jobs
        .map_or_else(parallel::default_workers, std::num::NonZero::get)
}
