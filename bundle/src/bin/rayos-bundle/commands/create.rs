//! The verb `create`.

use crate::args::{Create, check_json};
use crate::commands::bundles::{load_keys, report_created};
use crate::files::{STANDARD_INPUT, is_dash, with_output};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::create::{BundleOutput, CreateOptions};
use bundle::recipe::Recipe;
use cli::input::refuse_input_as_output;
use cli::new_file::unnamed;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn create(args: &Create) -> Result<()> {
    check_json(args.json, &args.output);
    let mut recipe = load_recipe(&args.recipe, args.source_date_epoch.as_deref())?;
    recipe.level = args.level.unwrap_or(recipe.level);
    let key_files = args.signature.key.iter().map(PathBuf::as_path);
    let inputs = recipe
        .inputs()
        .chain(key_files)
        .chain([args.recipe.as_path()]);
    refuse_input_as_output(&args.output, inputs)?;
    let keys = load_keys(&args.signature.key)?;
    let bar = output::progress_bar(images_len(&recipe), "compress");
    let options = CreateOptions {
        keys: &keys,
        workers: args.workers.count(),
    };
    let created = with_output(&args.output, |mut out, folder| {
        let output = BundleOutput {
            spool: &mut unnamed(folder)?,
            out: &mut out,
        };
        let mut progress = |bytes| bar.inc(bytes);
        Ok(bundle::create(&recipe, options, output, &mut progress)?)
    })?;
    bar.finish_and_clear();
    let what = if keys.is_empty() {
        "unsigned release"
    } else {
        "signed release"
    };
    report_created(&args.output, what, &created, args.json)
}

/// Returns the size of the images, for the progress bar. An image that cannot be read counts as 0.
fn images_len(recipe: &Recipe) -> u64 {
    let images = recipe.images.iter();
    images
        .filter_map(|image| fs::metadata(&image.path).ok())
        .map(|found| found.len())
        .sum()
}

fn load_recipe(path: &Path, epoch: Option<&str>) -> Result<Recipe> {
    if !is_dash(path) {
        return Ok(Recipe::load(path, epoch)?);
    }
    let text = io::read_to_string(io::stdin().lock()).context(STANDARD_INPUT)?;
    Ok(Recipe::parse(&text, Path::new(STANDARD_INPUT), epoch)?)
}
