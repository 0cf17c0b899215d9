//! The verb `create`.

use crate::args::{Create, check_json};
use crate::commands::bundles::{load_keys, report_created};
use crate::files::{STANDARD_INPUT, is_dash, name_of, with_output};
use crate::output;
use anyhow::{Context as _, Result};
use bundle::ImageRole;
use bundle::create::{BundleOutput, CreateOptions, Created};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use bundle::trust::pe;
use cli::input::refuse_input_as_output;
use cli::new_file::unnamed;
use seal::{Purpose, Seal};
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
    let keys = load_keys(&args.signature.key, &args.signature.passphrase)?;
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
    report_created(&args.output, what, &created, args.json)?;
    if let Err(error) = check_guard(&recipe, &created, &keys) {
        cli::output::note(&format!("warning: {error:#}"));
    }
    Ok(())
}

/// Checks that the guard of the bundle accepts its signatures, or has keys at all if there are none
/// yet. *Reads* the guard again.
fn check_guard(recipe: &Recipe, created: &Created, keys: &[SecretKey]) -> Result<()> {
    let images = &mut recipe.images.iter();
    let Some(image) = images.find(|image| image.role == ImageRole::Guard) else {
        return Ok(());
    };
    let guard = fs::read(&image.path).with_context(|| name_of(&image.path))?;
    if keys.is_empty() {
        pe::embedded_trust(&guard).with_context(|| name_of(&image.path))?;
        return Ok(());
    }
    let mut seal = Seal::new(&created.statement);
    keys.iter().try_for_each(|key| key.sign_seal(&mut seal))?;
    let purposes = [Purpose::Release, Purpose::Recovery];
    let chain = pe::guard_chain(&guard, &recipe.links)?;
    Ok(pe::check_guard(&chain, "this bundle", &seal, &purposes)?)
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
