//! Verbs that look at bundles without changing anything.

use crate::args::{CatManifest, Compare, Diff, Generate, Inspect, List, TrustOption, command};
use crate::files::{is_dash, name_of, open_input, write_output};
use crate::output;
use anyhow::{Context as _, Result, ensure};
use bundle::open::{Access, Opener};
use bundle::report::{describe, diff};
use bundle::{Release, cbor, trust};
use seal::Purpose;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// A device does not hold what was signed.
#[derive(Debug, thiserror::Error)]
#[error("image {image}: {chunks} of {all} chunks differ")]
pub(crate) struct Differs {
    image: bundle::ImageRole,
    chunks: usize,
    all: usize,
}

pub(crate) fn inspect(args: &Inspect) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    if args.json {
        output::json(&describe::json(&release))?
    } else {
        output::result(&describe::text(&release))?
    }
    Ok(())
}

pub(crate) fn list(args: &List) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    if args.json {
        output::json(&describe::chunks_json(&release, args.chunks))?;
    } else {
        output::result(&describe::chunks_text(&release, args.chunks))?;
    }
    Ok(())
}

pub(crate) fn cat_manifest(args: &CatManifest) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    // The encoding is the only one: these are the bytes of the file.
    write_output(&args.output, &cbor::encode(release.manifest())?)
}

pub(crate) fn diff(args: &Diff) -> Result<()> {
    ensure!(
        !is_dash(&args.old) || !is_dash(&args.new),
        "standard input cannot be both bundles: name a file"
    );
    let (old, new) = (head(&args.old, &args.trust)?, head(&args.new, &args.trust)?);
    let images = diff::releases(&old, &new);
    if args.json {
        let images: Vec<_> = images.iter().map(|diff| json!({
            "role": diff.role.as_str(), "size": diff.size, "zero": diff.zero, "same": diff.same, "moved": diff.moved,
            "new": diff.new, "new_stored": diff.new_stored,
        })).collect();
        let (old, new) = (&old.manifest().version, &new.manifest().version);
        output::json(
            &json!({"schema": "rayos-bundle.diff/1", "old": old, "new": new, "images": images}),
        )?;
        return Ok(());
    }
    let mut text = format!("{} -> {}\n", old.manifest().version, new.manifest().version);
    for diff in images {
        let [size, zero, same, moved, new, stored] = [
            diff.size,
            diff.zero,
            diff.same,
            diff.moved,
            diff.new,
            diff.new_stored,
        ]
        .map(describe::size);
        writeln!(
            text,
            "{:<9}{size}: {zero} zero, {same} same, {moved} moved, {new} new (stored {stored})",
            diff.role
        )?;
    }
    output::result(&text)?;
    Ok(())
}

pub(crate) fn compare(args: &Compare) -> Result<()> {
    let release = head(&args.bundle, &args.trust)?;
    let image = release
        .image(args.image)
        .with_context(|| format!("release has no image {}", args.image))?;
    let name = || args.against.display().to_string();
    let device = File::open(&args.against).with_context(name)?;
    let bar = output::bar(image.size, "compare");
    let differing = diff::device(
        &release,
        image,
        &device,
        args.offset,
        args.work.workers(),
        &mut |bytes| bar.inc(bytes),
    );
    let differing = differing.with_context(name)?;
    bar.finish_and_clear();
    let chunks: Vec<_> = differing
        .iter()
        .filter_map(|number| release.chunk(*number))
        .collect();
    if args.json {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| json!({"offset": chunk.offset, "len": chunk.len}))
            .collect();
        let all = image.chunks.len();
        output::json(
            &json!({"schema": "rayos-bundle.compare/1", "image": args.image.as_str(), "chunks": all, "differing": chunks}),
        )?;
    } else {
        let lines: Vec<String> = chunks
            .iter()
            .map(|chunk| format!("{} + {}", chunk.offset, chunk.len))
            .collect();
        if !lines.is_empty() {
            output::result(&lines.join("\n"))?;
        }
    }
    match differing.len() {
        0 => Ok(()),
        chunks => Err(Differs {
            image: args.image,
            chunks,
            all: image.chunks.len(),
        }
        .into()),
    }
}

pub(crate) fn generate(args: &Generate) -> Result<()> {
    use clap_complete::Shell;
    fs::create_dir_all(&args.folder).with_context(|| args.folder.display().to_string())?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command(), "rayos-bundle", &args.folder)?;
    }
    clap_mangen::generate_to(command(), &args.folder)?;
    Ok(())
}

/// The head of a bundle, verified if there is trust to verify it against.
fn head(path: &Path, option: &TrustOption) -> Result<Arc<Release>> {
    let source = open_input(path)?;
    let trust = option.trust.as_deref().map(trust::load).transpose()?;
    let access = match &trust {
        Some(trust) => Access::Verify(trust, Purpose::Release),
        None => Access::WithoutVerifying,
    };
    let opener = Opener::open(source, access, 1).with_context(|| name_of(path))?;
    Ok(Arc::clone(opener.release()))
}
