//! Verbs that read the head of a bundle: `inspect`, `list`, `diff`, `compare`, `cat-manifest`.

use crate::args::{CatManifest, Compare, Diff, Inspect, List, OptionalTrust};
use crate::commands::bundles::{access, read_head};
use crate::files::{is_dash, name_of, write_output};
use crate::output;
use anyhow::{Context as _, Result, ensure};
use bundle::report::describe;
use bundle::report::diff::{self, DeviceImage, ImageDiff};
use bundle::{ChunkEntry, ImageRole, Release, cbor};
use cli::input::refuse_input_as_output;
use cli::quantity::{Size, bytes};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Chunks of an image differ on a device.
#[derive(Debug, thiserror::Error)]
#[error("image {image}: {differing} of {chunks} chunks differ")]
pub(crate) struct Differs {
    image: ImageRole,
    differing: usize,
    chunks: usize,
}

pub(crate) fn inspect(args: &Inspect) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    if args.json {
        output::json(&describe::json(&release))?;
    } else {
        cli::output::print(&describe::text(&release))?;
    }
    Ok(())
}

pub(crate) fn list(args: &List) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    if args.json {
        output::json(&describe::chunks_json(&release, args.chunks))?;
    } else {
        cli::output::print(&describe::chunks_text(&release, args.chunks))?;
    }
    Ok(())
}

pub(crate) fn cat_manifest(args: &CatManifest) -> Result<()> {
    let inputs = [&args.bundle].into_iter().chain(&args.trust.trust);
    refuse_input_as_output(&args.output, inputs.map(PathBuf::as_path))?;
    let release = head(&args.bundle, &args.trust)?;
    // The encoding is deterministic, so these are the bytes in the bundle.
    write_output(&args.output, &cbor::encode(release.manifest())?)
}

pub(crate) fn diff(args: &Diff) -> Result<()> {
    ensure!(
        !is_dash(&args.old) || !is_dash(&args.new),
        "standard input cannot be both bundles: name a file"
    );
    let old = head(&args.old, &args.trust)?;
    let new = head(&args.new, &args.trust)?;
    let images = diff::releases(&old, &new);
    let old = &old.manifest().version;
    let new = &new.manifest().version;
    if args.json {
        let images: Vec<Value> = images.iter().map(diff_json).collect();
        output::json(&json!({
            "schema": "rayos-bundle.diff/1",
            "old": old,
            "new": new,
            "images": images,
        }))?;
    } else {
        let mut text = format!("{old} -> {new}\n");
        for image in &images {
            writeln!(text, "{}", diff_text(image))?;
        }
        cli::output::print(&text)?;
    }
    Ok(())
}

fn diff_json(diff: &ImageDiff) -> Value {
    json!({
        "role": diff.role.as_str(),
        "size": diff.size,
        "zero": diff.zero,
        "same": diff.same,
        "moved": diff.moved,
        "new": diff.new,
        "new_stored": diff.new_stored,
    })
}

fn diff_text(diff: &ImageDiff) -> String {
    format!(
        "{:<9}{}: {} zero, {} same, {} moved, {} new (stored in {})",
        diff.role,
        bytes(diff.size),
        bytes(diff.zero),
        bytes(diff.same),
        bytes(diff.moved),
        bytes(diff.new),
        bytes(diff.new_stored)
    )
}

pub(crate) fn compare(args: &Compare) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    let image = release
        .image(args.image)
        .with_context(|| format!("release has no image {}", args.image))?;
    let Size(offset) = args.offset;
    let file = File::open(&args.against).with_context(|| name_of(&args.against))?;
    let device = DeviceImage {
        file: &file,
        offset,
    };
    let bar = output::progress_bar(image.size, "compare");
    let workers = args.workers.count();
    let mut progress = |bytes| bar.inc(bytes);
    let differing = diff::device(&release, image, device, workers, &mut progress)
        .with_context(|| name_of(&args.against))?;
    bar.finish_and_clear();
    let entries = differing.iter().filter_map(|number| release.chunk(*number));
    let entries: Vec<&ChunkEntry> = entries.collect();
    if args.json {
        let ranges: Vec<Value> = entries
            .iter()
            .map(|chunk| json!({"offset": chunk.offset, "len": chunk.len}))
            .collect();
        output::json(&json!({
            "schema": "rayos-bundle.compare/1",
            "image": args.image.as_str(),
            "chunks": image.chunks.len(),
            "differing": ranges,
        }))?;
    } else if !entries.is_empty() {
        let lines: Vec<String> = entries
            .iter()
            .map(|chunk| format!("{} + {}", chunk.offset, chunk.len))
            .collect();
        cli::output::print(&lines.join("\n"))?;
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(Differs {
        image: args.image,
        differing: differing.len(),
        chunks: image.chunks.len(),
    }
    .into())
}

/// Reads the head of a bundle, and verifies it if there is trust.
fn head(path: &Path, trust: &OptionalTrust) -> Result<Arc<Release>> {
    let trust = trust
        .trust
        .as_deref()
        .map(bundle::trust::load)
        .transpose()?;
    read_head(path, access(trust.as_ref()))
}
