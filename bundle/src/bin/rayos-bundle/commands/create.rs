//! The verb that makes bundles.

use crate::args::{Create, refuse_json};
use crate::files::{STANDARD_INPUT, is_dash, open_stdout};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener};
use bundle::recipe::Recipe;
use bundle::report::describe;
use cli::input::refuse_input_as_output;
use cli::new_file::{NewFile, unnamed};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

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
    let bar = output::bar(len, "compress");
    let mut progress = |bytes| bar.inc(bytes);
    let workers = args.work.workers();
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
