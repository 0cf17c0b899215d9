//! The verb that makes bundles.

use crate::args::{Create, refuse_json};
use crate::files::{PartFile, STANDARD_INPUT, is_dash, open_stdout, unnamed_file};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener};
use bundle::recipe::Recipe;
use bundle::report::describe;
use std::fs::{self, File};
use std::io;
use std::path::Path;

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
        let mut spool = unnamed_file(&std::env::temp_dir())?;
        bundle::create(
            &recipe,
            &keys,
            workers,
            &mut spool,
            &mut open_stdout()?,
            &mut progress,
        )?
    } else {
        let part = PartFile::new(&args.output)?;
        let mut spool = unnamed_file(part.folder())?;
        let mut file = &part.file;
        let created = bundle::create(
            &recipe,
            &keys,
            workers,
            &mut spool,
            &mut file,
            &mut progress,
        )?;
        part.finish()?;
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
